namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Clusters of the file that follow one another.</summary>
/// <param name="First">The first one's number.</param>
/// <param name="Count">How many there are.</param>
internal readonly record struct ClusterRange(long First, long Count)
{
    /// <summary>The number behind the last cluster.</summary>
    public long End => First + Count;
}
