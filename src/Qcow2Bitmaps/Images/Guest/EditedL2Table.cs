using System.Buffers.Binary;
using CommunityToolkit.HighPerformance.Buffers;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Guest;

/// <summary>An L2 table that a writer has changed in memory: its words, and which of its sectors differ from the file.</summary>
internal sealed class EditedL2Table(long offset, ulong[] entries, bool isNew)
{
    private const int WordsPerSector = RefcountBlockEdit.SectorBytes / sizeof(ulong);

    private readonly ulong[] _changed = Bits(entries.Length / WordsPerSector, isNew);

    /// <summary>Where the table stands, in bytes from the start of the file.</summary>
    public long Offset => offset;

    /// <summary>The table as it is to be.</summary>
    public ulong[] Entries => entries;

    /// <summary>Says that a word has changed.</summary>
    public void Touch(int word) => _changed[word / WordsPerSector >> 6] |= 1UL << (word / WordsPerSector & 63);

    /// <summary>Writes what has changed, neighbouring sectors together; of a new table all.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask WriteAsync(ImageStorage storage, CancellationToken cancellationToken)
    {
        int sectors = entries.Length / WordsPerSector;
        using MemoryOwner<byte> buffer = MemoryOwner<byte>.Allocate(entries.Length * sizeof(ulong));
        for (int first = RefcountBlockEdit.Next(_changed, 0, sectors, true); first < sectors;)
        {
            int end = RefcountBlockEdit.Next(_changed, first, sectors, false);
            int bytes = (end - first) * RefcountBlockEdit.SectorBytes;
            Span<byte> words = buffer.Span;
            for (int word = first * WordsPerSector; word < end * WordsPerSector; word++)
            {
                BinaryPrimitives.WriteUInt64BigEndian(words[((word - (first * WordsPerSector)) * sizeof(ulong))..], entries[word]);
            }

            await storage.WriteAsync(offset + ((long)first * RefcountBlockEdit.SectorBytes), buffer.Memory[..bytes], cancellationToken).ConfigureAwait(false);
            first = RefcountBlockEdit.Next(_changed, end, sectors, true);
        }
    }

    private static ulong[] Bits(int sectors, bool value)
    {
        var bits = new ulong[(sectors + 63) / 64];
        Array.Fill(bits, value ? ulong.MaxValue : 0);
        return bits;
    }
}
