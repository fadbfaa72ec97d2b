namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Clusters of the file that follow one another.</summary>
/// <param name="First">The first one's number.</param>
/// <param name="Count">How many there are.</param>
internal readonly record struct ClusterRange(long First, long Count)
{
    /// <summary>The number behind the last cluster.</summary>
    public long End => First + Count;

    /// <summary>Adds a cluster to ranges in ascending order: to the last one where it follows that.</summary>
    public static void Append(List<ClusterRange> ranges, long cluster)
    {
        if (ranges.Count > 0 && ranges[^1].End == cluster)
        {
            ranges[^1] = ranges[^1] with { Count = ranges[^1].Count + 1 };
        }
        else
        {
            ranges.Add(new ClusterRange(cluster, 1));
        }
    }
}
