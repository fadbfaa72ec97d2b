using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Copying;

/// <summary>
/// Writes data read from one disk to another: detects zeros, and shares, compresses or skips what it can. Calls may be concurrent for
/// parts that do not overlap.
/// </summary>
/// <param name="target">The disk to write.</param>
/// <param name="holdsZeros">Whether zeros are written even where the target already reads as zeros.</param>
/// <param name="there">What the target will read where nothing is written, to find what need not be zeroed; null if that is what it reads
/// now, because its backing is not about to change.</param>
internal sealed class ItemCopier(Disk target, bool holdsZeros = false, Disk? there = null)
{
    private long _writtenBytes;

    /// <summary>What the target reads where nothing is written.</summary>
    public Disk There => there ?? target;

    /// <summary>
    /// Whether zeros are written without checking what already reads as zeros. A raw target's holes are punched again: that is one
    /// call, as the check would be.
    /// </summary>
    public bool HoldsZeros => holdsZeros || target.HoldsZeros || target is RawDisk;

    /// <summary>Whether clusters are compressed.</summary>
    public bool Compress { get; init; }

    /// <summary>The size of an aligned block of zeros that is written as zeros; 0 for none.</summary>
    public int ZeroUnitBytes { get; init; }

    /// <summary>How many bytes of the disk were written or made zeros.</summary>
    public long WrittenBytes => Interlocked.Read(ref _writtenBytes);

    /// <summary>Plans what is written of a part, and merges adjacent writes of one kind.</summary>
    /// <param name="offset">Where the part starts on the disk, in bytes.</param>
    /// <param name="bytes">Its bytes.</param>
    /// <param name="there">What the target has there: equal parts are not written. Empty if unknown.</param>
    /// <param name="writes">Receives the planned writes.</param>
    public void Plan(long offset, ReadOnlySpan<byte> bytes, ReadOnlySpan<byte> there, List<CopyWrite> writes)
    {
        if (ZeroUnitBytes == 0 && there.IsEmpty)
        {
            CopyWrite.Add(writes, offset, offset + bytes.Length, isZero: false);
            return;
        }

        for (int at = 0; at < bytes.Length;)
        {
            int end = ZeroUnitBytes == 0 ? bytes.Length : (int)Math.Min(bytes.Length, at + ZeroUnitBytes - ((offset + at) % ZeroUnitBytes));
            ReadOnlySpan<byte> part = bytes[at..end];
            if (there.IsEmpty || !part.SequenceEqual(there[at..end]))
            {
                CopyWrite.Add(writes, offset + at, offset + end, ZeroUnitBytes > 0 && !part.ContainsAnyExcept((byte)0));
            }

            at = end;
        }
    }

    /// <summary>Writes data, compressed if requested.</summary>
    /// <param name="offset">Where they start on the disk, in bytes.</param>
    /// <param name="bytes">The bytes.</param>
    /// <param name="origin">Where a file stores them, so that they can be shared with it; null if nowhere.</param>
    /// <param name="cancellationToken">Ends the writing.</param>
    public async ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> bytes, BytesOrigin? origin, CancellationToken cancellationToken)
    {
        Interlocked.Add(ref _writtenBytes, bytes.Length);
        if (!Compress)
        {
            await target.WriteAsync(offset, bytes, origin, cancellationToken).ConfigureAwait(false);
            return;
        }

        for (int at = 0; at < bytes.Length;)
        {
            ReadOnlyMemory<byte> cluster = bytes.Slice(at, Math.Min(target.ClusterBytes, bytes.Length - at));
            // A source may end within a cluster of a longer target, whose rest is kept.
            bool isWhole = cluster.Length == target.ClusterBytes || offset + at + cluster.Length == target.SizeBytes;
            ValueTask writing = isWhole
                ? target.WriteCompressedAsync(offset + at, cluster, cancellationToken)
                : target.WriteAsync(offset + at, cluster, cancellationToken);
            await writing.ConfigureAwait(false);
            at += cluster.Length;
        }
    }

    /// <summary>
    /// Makes a part read as zeros. Unless zeros must be stored, parts that are known from tables to read as zeros are not written, so
    /// that they take no space.
    /// </summary>
    /// <param name="start">Where the part starts on the disk, in bytes.</param>
    /// <param name="end">Where it ends.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    public async ValueTask ZeroAsync(long start, long end, CancellationToken cancellationToken)
    {
        if (HoldsZeros)
        {
            await WriteZerosAsync(new StorageRange(start, end), cancellationToken).ConfigureAwait(false);
            return;
        }

        // Whole units need only a table entry; parts of one must be written.
        await foreach (StorageRange data
            in There.ListDataAsync(start, end, target.SubclusterBytes, cancellationToken).ConfigureAwait(false))
        {
            await WriteZerosAsync(data, cancellationToken).ConfigureAwait(false);
        }
    }

    private ValueTask WriteZerosAsync(StorageRange range, CancellationToken cancellationToken)
    {
        Interlocked.Add(ref _writtenBytes, range.EndOffset - range.Offset);
        return target.WriteZerosAsync(range.Offset, range.EndOffset - range.Offset, mayUnmap: true, cancellationToken);
    }
}
