using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Operations;

/// <summary>The parts of the disk that a range of images determines, from one down to, but without, another.</summary>
internal static class SubchainRanges
{
    // 32 MiB of bits.
    private const long MaxGranules = 1L << 28;

    /// <summary>Collects these parts in bounded memory.</summary>
    /// <param name="map">The map of the chain that starts at the first image.</param>
    /// <param name="endDepth">The depth, counted from there, of the first image that is not included.</param>
    /// <param name="sizeBytes">The size of the disk that the ranges are for.</param>
    /// <param name="granularityBytes">Of the ranges; rounded out to a coarser one where a large disk would take much memory.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <param name="endSizeBytes">The size that the last image had, when nothing below it counts; null when all below counts.</param>
    /// <returns>
    /// What those images have allocated, and what a shorter one hides of longer ones below it: images further down determine
    /// neither. The hidden parts are derived from the sizes alone: an image above may have allocated clusters there, of which it
    /// wrote and recorded only a part.
    /// </returns>
    public static async ValueTask<(DirtyBitmap Has, DirtyBitmap Hides)> CollectAsync(
        ChainDisk map, int endDepth, long sizeBytes, long granularityBytes, CancellationToken cancellationToken, long? endSizeBytes = null)
    {
        while (sizeBytes / granularityBytes > MaxGranules && granularityBytes < 1L << BitmapGranularity.MaxBits)
        {
            granularityBytes *= 2;
        }

        var has = new DirtyBitmap(sizeBytes, granularityBytes);
        DirtyBitmap hides = FindHidden(map, endDepth, new DirtyBitmap(sizeBytes, granularityBytes), endSizeBytes);
        long end = Math.Min(map.SizeBytes, sizeBytes);
        var extents = new List<DiskExtent>();
        for (long at = 0; at < end;)
        {
            extents.Clear();
            at = await map.ListAsync(at, end, extents, cancellationToken).ConfigureAwait(false);
            foreach (DiskExtent extent in extents.Where(extent => extent.Depth < endDepth && extent.Kind != ExtentKind.Unallocated))
            {
                has.Set(extent.OffsetBytes, extent.LengthBytes);
            }
        }

        return (has, hides);
    }

    private static DirtyBitmap FindHidden(ChainDisk map, int endDepth, DirtyBitmap hides, long? endSizeBytes)
    {
        (int depth, long longest) = endSizeBytes is { } size ? (endDepth, size) : (map.LastDepth, map.SizeOf(map.LastDepth));
        while (--depth > 0)
        {
            long start = map.SizeOf(depth);
            long end = Math.Min(longest, hides.SizeBytes);
            if (depth < endDepth && start < end)
            {
                hides.Set(start, end - start);
            }

            longest = Math.Max(longest, start);
        }

        return hides;
    }
}
