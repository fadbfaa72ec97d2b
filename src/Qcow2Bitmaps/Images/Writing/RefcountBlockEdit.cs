using System.Numerics;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>A refcount block in memory that was changed: what it was, what it is to be, and which sectors differ from what was written last.</summary>
internal sealed class RefcountBlockEdit
{
    /// <summary>What a device writes as a whole or not at all, in bytes.</summary>
    public const int SectorBytes = 512;

    private readonly byte[]? _original;
    private readonly ulong[] _changed;
    private readonly ulong[] _written;

    private RefcountBlockEdit(long offset, byte[] bytes, byte[]? original)
    {
        Offset = offset;
        Bytes = bytes;
        _original = original;
        int words = (bytes.Length / SectorBytes + 63) / 64;
        _changed = new ulong[words];
        _written = new ulong[words];
    }

    /// <summary>Where the block stands, in bytes from the start of the file.</summary>
    public long Offset { get; }

    /// <summary>The counts as they are to be.</summary>
    public byte[] Bytes { get; }

    public static RefcountBlockEdit OfExisting(long offset, ReadOnlySpan<byte> bytes) => new(offset, bytes.ToArray(), bytes.ToArray());

    public static RefcountBlockEdit OfNew(long offset, int clusterSizeBytes)
    {
        var block = new RefcountBlockEdit(offset, new byte[clusterSizeBytes], null);
        block._changed.AsSpan().Fill(ulong.MaxValue);
        return block;
    }

    /// <summary>Says that bytes have changed.</summary>
    public void Touch(int firstByte, int lastByte)
    {
        for (int sector = firstByte / SectorBytes; sector <= lastByte / SectorBytes; sector++)
        {
            _changed[sector >> 6] |= 1UL << (sector & 63);
        }
    }

    /// <summary>Writes the sectors that have changed since the last time, neighbours together.</summary>
    public async ValueTask WriteAsync(ImageStorage storage, CancellationToken cancellationToken)
    {
        for (int i = 0; i < _written.Length; i++)
        {
            _written[i] |= _changed[i];
        }

        await WriteSectorsAsync(storage, Bytes, _changed, cancellationToken).ConfigureAwait(false);
        _changed.AsSpan().Clear();
    }

    /// <summary>Writes back what was there before; of a new block nothing, as nothing names it.</summary>
    public ValueTask RestoreAsync(ImageStorage storage, CancellationToken cancellationToken) => _original is null
        ? ValueTask.CompletedTask
        : WriteSectorsAsync(storage, _original, _written, cancellationToken);

    private async ValueTask WriteSectorsAsync(ImageStorage storage, byte[] bytes, ulong[] sectors, CancellationToken cancellationToken)
    {
        int count = bytes.Length / SectorBytes;
        for (int sector = Next(sectors, 0, count, true); sector < count;)
        {
            int end = Next(sectors, sector, count, false);
            await storage.WriteAsync(Offset + ((long)sector * SectorBytes), bytes.AsMemory(sector * SectorBytes, (end - sector) * SectorBytes), cancellationToken).ConfigureAwait(false);
            sector = Next(sectors, end, count, true);
        }
    }

    /// <summary>The first sector from one on whose bit has a value; the count without one.</summary>
    public static int Next(ulong[] sectors, int from, int count, bool value)
    {
        for (int at = from; at < count; at = (at | 63) + 1)
        {
            ulong word = (value ? sectors[at >> 6] : ~sectors[at >> 6]) >> (at & 63);
            if (word != 0)
            {
                return Math.Min(at + BitOperations.TrailingZeroCount(word), count);
            }
        }

        return count;
    }
}
