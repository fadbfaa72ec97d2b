using System.Runtime.CompilerServices;

namespace Qcow2Bitmaps.Backups;

/// <summary>Determines which parts of a disk are copied, in whole blocks.</summary>
internal static class BackupRanges
{
    /// <summary>Returns the blocks that a bitmap, merged over its chain, marks as dirty, and all blocks from an offset on.</summary>
    /// <param name="chain">The chain; the bitmap is valid over it.</param>
    /// <param name="bitmap">The bitmap's name.</param>
    /// <param name="tailBytes">The offset from which the backup below has nothing, in bytes.</param>
    /// <param name="sizeBytes">The disk's size in bytes.</param>
    /// <param name="onDirty">Receives the number of dirty bytes of each extent, before it is rounded.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public static async IAsyncEnumerable<DirtyExtent> DirtyAsync(
        ImageChain chain, string bitmap, long tailBytes, long sizeBytes, Action<long> onDirty,
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        long tail = Math.Min(sizeBytes, tailBytes) / GroupDigests.BlockBytes * GroupDigests.BlockBytes;
        tail = tailBytes >= sizeBytes ? sizeBytes : tail;
        long start = 0;
        long end = 0;
        await foreach (DirtyExtent extent in chain.ReadExtentsAsync(bitmap, cancellationToken: cancellationToken).ConfigureAwait(false))
        {
            onDirty(extent.LengthBytes);
            long from = extent.OffsetBytes / GroupDigests.BlockBytes * GroupDigests.BlockBytes;
            long to = Math.Min(tail, (extent.EndBytes + GroupDigests.BlockBytes - 1) / GroupDigests.BlockBytes * GroupDigests.BlockBytes);
            if (from > end)
            {
                if (end > start)
                {
                    yield return new DirtyExtent(start, end - start, isDirty: true);
                }

                start = from;
            }

            end = Math.Max(end, to);
        }

        if (end > start)
        {
            yield return new DirtyExtent(start, end - start, isDirty: true);
        }

        if (tail < sizeBytes)
        {
            yield return new DirtyExtent(tail, sizeBytes - tail, isDirty: true);
        }
    }

    /// <summary>Returns what an image itself contains.</summary>
    /// <param name="chain">The image, opened alone.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public static async IAsyncEnumerable<DirtyExtent> OwnAsync(
        ImageChain chain, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        if (chain.Layers[0] is RawLayer)
        {
            yield return new DirtyExtent(0, chain.Layers[0].VirtualSizeBytes, isDirty: true);
            yield break;
        }

        await foreach (DiskExtent extent in chain.ListOwnAsync(0, cancellationToken).ConfigureAwait(false))
        {
            if (extent.Kind != ExtentKind.Unallocated)
            {
                yield return new DirtyExtent(extent.OffsetBytes, extent.LengthBytes, isDirty: true);
            }
        }
    }
}
