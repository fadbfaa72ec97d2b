using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Chains;

namespace Qcow2Bitmaps.Operations;

/// <summary>What the images from one down to another, without that, decide of the disk.</summary>
internal static class SubchainRanges
{
    // 32 MiB of bits.
    private const long MaxGranules = 1L << 28;

    /// <summary>Collects what is there, in bounded memory.</summary>
    /// <param name="map">The map of the chain that starts at the first image.</param>
    /// <param name="endDepth">The image, counted from there, that is no longer meant.</param>
    /// <param name="sizeBytes">The size of the disk that the ranges are for.</param>
    /// <param name="granularityBytes">The granularity of the ranges; they are rounded out to a coarser one where a large disk would take much memory.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <param name="hiddenEndBytes">Up to where there was something to hide.</param>
    /// <returns>What those images have, and what a shorter one of them hides of those below it: both are parts that an image further down does not decide.</returns>
    public static async ValueTask<(DirtyBitmap Has, DirtyBitmap Hides)> CollectAsync(
        ChainMap map, int endDepth, long sizeBytes, long granularityBytes, CancellationToken cancellationToken, long hiddenEndBytes = long.MaxValue)
    {
        while (sizeBytes / granularityBytes > MaxGranules)
        {
            granularityBytes *= 2;
        }

        var has = new DirtyBitmap(sizeBytes, granularityBytes);
        var hides = new DirtyBitmap(sizeBytes, granularityBytes);
        long end = Math.Min(map.SizeBytes, sizeBytes);
        var extents = new List<ChainExtent>();
        for (long at = 0; at < end;)
        {
            extents.Clear();
            at = await map.ListAsync(at, end, extents, cancellationToken).ConfigureAwait(false);
            foreach (ChainExtent extent in extents)
            {
                bool isHidden = extent.Kind == Images.GuestExtentKind.Unallocated;
                long length = Math.Min(extent.EndBytes, isHidden ? hiddenEndBytes : long.MaxValue) - extent.OffsetBytes;
                // What not even the lowest image has hides nothing.
                if (extent.Depth < endDepth && length > 0 && !(isHidden && extent.Depth == map.LastDepth))
                {
                    (isHidden ? hides : has).Set(extent.OffsetBytes, length);
                }
            }
        }

        return (has, hides);
    }
}
