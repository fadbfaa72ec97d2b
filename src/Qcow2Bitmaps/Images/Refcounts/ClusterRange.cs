using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>Clusters of the file that follow one another.</summary>
/// <param name="First">The first one's number.</param>
/// <param name="Count">How many there are.</param>
internal readonly record struct ClusterRange(HostCluster First, long Count)
{
    /// <summary>The number behind the last cluster.</summary>
    public HostCluster End => First + Count;

    /// <summary>The clusters that some bytes lie in.</summary>
    public static ClusterRange Of(ImageGeometry geometry, ulong offset, long bytes)
    {
        HostCluster first = geometry.ClusterAt(offset);
        return new ClusterRange(first, geometry.ClusterAt(offset + (ulong)bytes - 1) - first + 1);
    }

    /// <summary>Adds clusters to a list of ranges: to its last one where they follow that.</summary>
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
