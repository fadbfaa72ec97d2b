using System.Buffers.Binary;
using CommunityToolkit.HighPerformance.Buffers;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Guest;

/// <summary>An L2 table that a writer has changed in memory: its words, and which of its sectors differ from the file.</summary>
internal sealed class EditedL2Table(long offset, ulong[] entries, bool isNew)
{
    private readonly ChangedSectors _changed = new(entries.Length * sizeof(ulong), isNew);

    /// <summary>The table's offset, in bytes from the start of the file.</summary>
    public long Offset => offset;

    /// <summary>The table with all changes.</summary>
    public ulong[] Entries => entries;

    /// <summary>Marks a word as changed.</summary>
    public void Touch(int word) => _changed.Add(word * sizeof(ulong), word * sizeof(ulong));

    /// <summary>Writes the changed sectors, adjacent ones together; writes all of a new table.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask WriteAsync(ImageStorage storage, CancellationToken cancellationToken)
    {
        using MemoryOwner<byte> buffer = MemoryOwner<byte>.Allocate(entries.Length * sizeof(ulong));
        foreach ((int start, int length) in _changed.Runs())
        {
            for (int at = 0; at < length; at += sizeof(ulong))
            {
                BinaryPrimitives.WriteUInt64BigEndian(buffer.Span[at..], entries[(start + at) / sizeof(ulong)]);
            }

            await storage.WriteAsync(offset + start, buffer.Memory[..length], cancellationToken).ConfigureAwait(false);
        }
    }
}
