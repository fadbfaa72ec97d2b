using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>Contiguous clusters of the file.</summary>
/// <param name="First">The first one's number.</param>
/// <param name="Count">How many there are.</param>
internal readonly record struct ClusterRange(HostCluster First, long Count)
{
    /// <summary>The number after the last cluster.</summary>
    public HostCluster End => First + Count;

    /// <summary>The clusters that a byte range touches.</summary>
    public static ClusterRange Of(ImageGeometry geometry, ulong offset, long bytes)
    {
        HostCluster first = geometry.ClusterAt(offset);
        return new ClusterRange(first, geometry.ClusterAt(offset + (ulong)bytes - 1) - first + 1);
    }

    /// <summary>Adds clusters to a list of ranges, extending the last range if they follow it.</summary>
    public static void Append(List<ClusterRange> ranges, HostCluster first, long count)
    {
        if (ranges.Count > 0 && ranges[^1].End == first)
        {
            ranges[^1] = ranges[^1] with { Count = ranges[^1].Count + count };
        }
        else
        {
            ranges.Add(new ClusterRange(first, count));
        }
    }
}
