using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images;

namespace Qcow2Bitmaps.Copying;

/// <summary>Finds the block status of extents as QEMU does.</summary>
internal static class StrictStatus
{
    // QEMU looks into an L2 table in pieces of at most 64 KiB, and no run goes beyond one.
    private const int MaxSliceBytes = 64 << 10;

    /// <summary>Cuts an extent to the run that QEMU would see, and says how it is had.</summary>
    public static (ChainExtent Run, BlockStatus Status) Of(ChainMap map, ChainExtent extent)
    {
        long end = extent.EndBytes;
        for (int depth = 0; depth <= extent.Depth; depth++)
        {
            end = Math.Min(end, SliceEnd(map, depth, extent.OffsetBytes));
        }

        bool isLast = extent.Depth == map.LayerCount - 1;
        BlockStatus status = extent.Kind switch
        {
            GuestExtentKind.Data => BlockStatus.Data | BlockStatus.Allocated | (extent.IsHole ? BlockStatus.Zero : BlockStatus.None),
            GuestExtentKind.Compressed => BlockStatus.Data | BlockStatus.Allocated,
            GuestExtentKind.Zero => BlockStatus.Zero | BlockStatus.Allocated,
            // Behind the end of the image below: the one above has it, as zeros.
            _ when !isLast => BlockStatus.Zero | BlockStatus.Allocated,
            _ => BlockStatus.Zero,
        };
        bool hasOffset = extent.HostOffset is not null && extent.Kind != GuestExtentKind.Compressed && (extent.Kind != GuestExtentKind.Unallocated || isLast);
        bool isAtEnd = end == map.SizeBytes || (extent.Kind == GuestExtentKind.Unallocated && isLast && end == map.SizeOf(extent.Depth));
        return (extent.Slice(extent.OffsetBytes, end - extent.OffsetBytes), status | (hasOffset ? BlockStatus.HasOffset : BlockStatus.None) | (isAtEnd ? BlockStatus.AtEnd : BlockStatus.None));
    }

    private static long SliceEnd(ChainMap map, int depth, long offset)
    {
        if (map.GeometryOf(depth) is not { } geometry)
        {
            return long.MaxValue;
        }

        long sliceBytes = (long)(Math.Min(MaxSliceBytes, geometry.ClusterSizeBytes) / geometry.L2EntryBytes) << geometry.ClusterBits;
        long start = offset / sliceBytes * sliceBytes;
        return start > long.MaxValue - sliceBytes ? long.MaxValue : start + sliceBytes;
    }
}
