using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Copying;

/// <summary>
/// Writes what was read of a part of a disk to another one: finds zeros in it, and shares, compresses or leaves out what can be. Calls may
/// run side by side, for parts that do not overlap.
/// </summary>
/// <param name="target">Where to.</param>
/// <param name="holdsZeros">Whether zeros are written even where the target reads as zeros already.</param>
/// <param name="there">What the target reads, which says what need not be made zeros; null for what it reads now, where it
/// is not about to show another disk.</param>
internal sealed class ItemCopier(Disk target, bool holdsZeros = false, Disk? there = null)
{
    private long _writtenBytes;

    /// <summary>What the target reads where nothing is written.</summary>
    public Disk There => there ?? target;

    /// <summary>
    /// Whether nobody asks what reads as zeros already. Of a raw target holes are made again: that is one call, as asking is.
    /// </summary>
    public bool HoldsZeros => holdsZeros || target.HoldsZeros || target is RawDisk;

    /// <summary>Whether clusters are compressed.</summary>
    public bool Compress { get; init; }

    /// <summary>How many bytes of zeros, at a multiple of as many, are written as zeros; 0 for none.</summary>
    public int ZeroUnitBytes { get; init; }

    /// <summary>How many bytes of the disk were written or made zeros.</summary>
    public long WrittenBytes => Interlocked.Read(ref _writtenBytes);

    /// <summary>Plans what is written of a part: neighbours of one kind together.</summary>
    /// <param name="offset">Where the part starts on the disk, in bytes.</param>
    /// <param name="bytes">Its bytes.</param>
    /// <param name="there">What the target has there, which is left alone where it is the same; empty where that is not known.</param>
    /// <param name="writes">Takes what is to be written.</param>
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

    /// <summary>Writes data, compressed if that is asked for.</summary>
    /// <param name="offset">Where they start on the disk, in bytes.</param>
    /// <param name="bytes">The bytes.</param>
    /// <param name="origin">Where a file has them, which they may be shared with; null for nowhere.</param>
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
            // A source may end within a cluster of a longer target, which keeps the rest of it.
            bool isWhole = cluster.Length == target.ClusterBytes || offset + at + cluster.Length == target.SizeBytes;
            ValueTask writing = isWhole
                ? target.WriteCompressedAsync(offset + at, cluster, cancellationToken)
                : target.WriteAsync(offset + at, cluster, cancellationToken);
            await writing.ConfigureAwait(false);
            at += cluster.Length;
        }
    }

    /// <summary>
    /// Makes a part read as zeros. What is known from tables to do so is left alone, unless zeros are held,
    /// so that no space is taken there.
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

        // Whole units cost a table's entry, parts of one have to be written.
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
