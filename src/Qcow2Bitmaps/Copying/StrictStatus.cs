using Qcow2Bitmaps.Chains;

namespace Qcow2Bitmaps.Copying;

/// <summary>Finds the block status of extents as QEMU does.</summary>
internal static class StrictStatus
{
    // QEMU reads an L2 table in slices of at most 64 KiB, and no run crosses a slice.
    private const int MaxSliceBytes = 64 << 10;

    /// <summary>Cuts an extent to the run that QEMU would report, and returns its status.</summary>
    public static (DiskExtent Run, BlockStatus Status) Of(Disk disk, DiskExtent extent)
    {
        // Only a chain has known tables and layers.
        var chain = disk as ChainDisk;
        long end = extent.EndBytes;
        for (int depth = 0; depth <= extent.Depth; depth++)
        {
            end = Math.Min(end, SliceEnd(chain, depth, extent.OffsetBytes));
        }

        bool isLast = chain is null || extent.Depth == chain.LastDepth;
        BlockStatus status = extent.Kind switch
        {
            ExtentKind.Data => BlockStatus.Data | BlockStatus.Allocated | (extent.IsHole ? BlockStatus.Zero : BlockStatus.None),
            ExtentKind.Compressed => BlockStatus.Data | BlockStatus.Allocated,
            ExtentKind.Zero => BlockStatus.Zero | BlockStatus.Allocated,
            // Beyond the end of the image below: the image above counts as having it, as zeros.
            _ when !isLast => BlockStatus.Zero | BlockStatus.Allocated,
            _ => BlockStatus.Zero,
        };
        bool hasOffset = extent.HostOffset is not null
            && extent.Kind != ExtentKind.Compressed
            && (extent.Kind != ExtentKind.Unallocated || isLast);
        bool isAtEnd = end == disk.SizeBytes
            || (extent.Kind == ExtentKind.Unallocated && isLast && end == (chain?.SizeOf(extent.Depth) ?? disk.SizeBytes));
        return (extent.Slice(extent.OffsetBytes, end - extent.OffsetBytes), status | (hasOffset
            ? BlockStatus.HasOffset
            : BlockStatus.None) | (isAtEnd ? BlockStatus.AtEnd : BlockStatus.None));
    }

    private static long SliceEnd(ChainDisk? chain, int depth, long offset)
    {
        if (chain?.GeometryOf(depth) is not { } geometry)
        {
            return long.MaxValue;
        }

        long sliceBytes = (long)(Math.Min(MaxSliceBytes, geometry.ClusterSizeBytes) / geometry.L2EntryBytes) << geometry.ClusterBits;
        long start = offset / sliceBytes * sliceBytes;
        return start > long.MaxValue - sliceBytes ? long.MaxValue : start + sliceBytes;
    }
}
