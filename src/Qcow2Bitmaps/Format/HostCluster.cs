namespace Qcow2Bitmaps.Format;

/// <summary>The number of a cluster of the image file: no offset, and no cluster of the disk.</summary>
/// <param name="Number">The number; cluster 0 has the header.</param>
internal readonly record struct HostCluster(long Number)
{
    public static HostCluster operator +(HostCluster cluster, long clusters) => new(cluster.Number + clusters);

    public static HostCluster operator -(HostCluster cluster, long clusters) => new(cluster.Number - clusters);

    public static long operator -(HostCluster end, HostCluster start) => end.Number - start.Number;

    public static HostCluster operator ++(HostCluster cluster) => cluster + 1;

    public static bool operator <(HostCluster one, HostCluster other) => one.Number < other.Number;

    public static bool operator >(HostCluster one, HostCluster other) => one.Number > other.Number;

    public static bool operator <=(HostCluster one, HostCluster other) => one.Number <= other.Number;

    public static bool operator >=(HostCluster one, HostCluster other) => one.Number >= other.Number;
}
