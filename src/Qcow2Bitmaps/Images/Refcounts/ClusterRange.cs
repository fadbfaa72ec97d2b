namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>Clusters of the file that follow one another.</summary>
/// <param name="First">The first one's number.</param>
/// <param name="Count">How many there are.</param>
internal readonly record struct ClusterRange(long First, long Count)
{
    /// <summary>The number behind the last cluster.</summary>
    public long End => First + Count;

    /// <summary>Adds clusters to a list of ranges: to its last one where they follow that.</summary>
    public static void Append(List<ClusterRange> ranges, long first, long count)
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
