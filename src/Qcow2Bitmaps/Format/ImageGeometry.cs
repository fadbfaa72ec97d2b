namespace Qcow2Bitmaps.Format;

/// <summary>All arithmetic on clusters, tables and bitmaps of one image, in one place.</summary>
/// <remarks>
/// Immutable and safe to share between threads. All results are exact for virtual sizes up to 2^63-1 bytes; nothing here
/// reads untrusted values other than those that <see cref="Qcow2Header"/> has checked.
/// </remarks>
internal readonly record struct ImageGeometry
{
    /// <summary>The smallest cluster: 512 bytes.</summary>
    public const int MinClusterBits = 9;

    /// <summary>The largest cluster: 2 MiB.</summary>
    public const int MaxClusterBits = 21;

    /// <summary>The smallest cluster with extended L2 entries: 16 KiB, which makes subclusters of 512 bytes.</summary>
    public const int MinExtendedL2ClusterBits = 14;

    /// <summary>Subclusters in a cluster with extended L2 entries.</summary>
    public const int SubclustersPerCluster = 32;

    /// <summary>Bytes of an entry of the L1, refcount and bitmap tables.</summary>
    public const int TableEntryBytes = sizeof(ulong);

    /// <summary>Creates the geometry of an image.</summary>
    /// <param name="clusterBits">The cluster size as a power of two, 9 to 21.</param>
    /// <param name="virtualSizeBytes">The disk's size in bytes.</param>
    /// <param name="refcountOrder">The width of a reference count as a power of two in bits, 0 to 6.</param>
    /// <param name="hasExtendedL2">Whether L2 entries are extended.</param>
    /// <exception cref="ArgumentOutOfRangeException">An argument is outside its range.</exception>
    public ImageGeometry(int clusterBits, long virtualSizeBytes, int refcountOrder, bool hasExtendedL2)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(clusterBits, hasExtendedL2 ? MinExtendedL2ClusterBits : MinClusterBits);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(clusterBits, MaxClusterBits);
        ArgumentOutOfRangeException.ThrowIfNegative(virtualSizeBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(refcountOrder);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(refcountOrder, Qcow2Header.MaxRefcountOrder);
        ClusterBits = clusterBits;
        VirtualSizeBytes = virtualSizeBytes;
        RefcountOrder = refcountOrder;
        HasExtendedL2 = hasExtendedL2;
    }

    /// <summary>The cluster size as a power of two, 9 to 21.</summary>
    public int ClusterBits { get; }

    /// <summary>The disk's size in bytes.</summary>
    public long VirtualSizeBytes { get; }

    /// <summary>The width of a reference count as a power of two in bits, 0 to 6.</summary>
    public int RefcountOrder { get; }

    /// <summary>Whether L2 entries are extended, so that clusters have subclusters.</summary>
    public bool HasExtendedL2 { get; }

    /// <summary>The cluster size in bytes.</summary>
    public int ClusterSizeBytes => 1 << ClusterBits;

    /// <summary>The size of a subcluster in bytes; the cluster size without extended L2 entries.</summary>
    public int SubclusterSizeBytes => HasExtendedL2 ? ClusterSizeBytes / SubclustersPerCluster : ClusterSizeBytes;

    /// <summary>Bytes of an L2 entry: 8, or 16 when extended.</summary>
    public int L2EntryBytes => HasExtendedL2 ? 2 * sizeof(ulong) : sizeof(ulong);

    /// <summary>Entries of one L2 table, which fills one cluster.</summary>
    public int L2EntriesPerTable => ClusterSizeBytes / L2EntryBytes;

    /// <summary>The width of a reference count in bits: 1, 2, 4, 8, 16, 32 or 64.</summary>
    public int RefcountBits => 1 << RefcountOrder;

    /// <summary>Reference counts in one refcount block, which fills one cluster.</summary>
    public int RefcountsPerBlock => (int)((8L << ClusterBits) >> RefcountOrder);

    /// <summary>The number of L1 table entries for the whole disk.</summary>
    public long L1EntriesNeeded => L1EntriesFor(VirtualSizeBytes);

    /// <summary>Bits of a bitmap that one of its clusters holds.</summary>
    public long BitsPerBitmapCluster => 8L << ClusterBits;

    /// <summary>Whether an offset is the start of a cluster.</summary>
    /// <param name="offset">An offset in bytes, in the file or on the disk.</param>
    public bool IsClusterAligned(ulong offset) => IsClusterAligned(offset, ClusterBits);

    /// <summary>Whether an offset is the start of a cluster.</summary>
    /// <param name="offset">An offset in bytes, in the file or on the disk.</param>
    /// <param name="clusterBits">The cluster size as a power of two.</param>
    public static bool IsClusterAligned(ulong offset, int clusterBits) => (offset & ((1UL << clusterBits) - 1)) == 0;

    /// <summary>The distance of an offset from the start of its cluster, in bytes.</summary>
    /// <param name="offset">An offset in bytes, in the file or on the disk.</param>
    public int OffsetInCluster(ulong offset) => (int)(offset & ((1UL << ClusterBits) - 1));

    /// <summary>The number of the cluster that holds an offset.</summary>
    /// <param name="offset">An offset in bytes, in the file or on the disk.</param>
    public ulong ClusterIndex(ulong offset) => offset >> ClusterBits;

    /// <summary>The cluster of the file that holds an offset in it.</summary>
    public HostCluster ClusterAt(ulong offset) => new((long)(offset >> ClusterBits));

    /// <summary>The cluster of the file that contains an offset in the file.</summary>
    public HostCluster ClusterAt(HostOffset offset) => new(offset.Bytes >> ClusterBits);

    /// <summary>Where a cluster of the file starts.</summary>
    public HostOffset OffsetOf(HostCluster cluster) => new(cluster.Number << ClusterBits);

    /// <summary>The index of the refcount block with a cluster's count.</summary>
    public long RefcountBlockOf(HostCluster cluster) => cluster.Number / RefcountsPerBlock;

    /// <summary>The index of a cluster's count in its refcount block.</summary>
    public int RefcountIndexOf(HostCluster cluster) => (int)(cluster.Number % RefcountsPerBlock);

    /// <summary>The cluster that a count of a refcount block is of.</summary>
    public HostCluster ClusterOfRefcount(long block, int index) => new((block * RefcountsPerBlock) + index);

    /// <summary>The size of a number of clusters in bytes.</summary>
    public long BytesOfClusters(long clusters) => clusters << ClusterBits;

    /// <summary>The size of the entries of an L1, refcount or bitmap table in bytes.</summary>
    public static long BytesOfEntries(long entries) => entries * TableEntryBytes;

    /// <summary>The offset of an entry of such a table in the file, in bytes.</summary>
    public static ulong EntryOffset(ulong tableOffset, long index) => tableOffset + (ulong)BytesOfEntries(index);

    /// <summary>How many clusters a number of bytes needs.</summary>
    /// <param name="bytes">A length in bytes.</param>
    public long ClustersFor(long bytes) => DivideRoundingUp(bytes, ClusterSizeBytes);

    /// <summary>The number of L1 table entries for a disk of a given size.</summary>
    /// <param name="sizeBytes">The size in bytes.</param>
    public long L1EntriesFor(long sizeBytes) => DivideRoundingUp(ClustersFor(sizeBytes), L2EntriesPerTable);

    /// <summary>The index in the L1 table of the entry for an offset on the disk.</summary>
    /// <param name="guestOffset">An offset on the disk in bytes.</param>
    public long L1Index(long guestOffset) => (guestOffset >> ClusterBits) / L2EntriesPerTable;

    /// <summary>The index in its L2 table of the entry for an offset on the disk.</summary>
    /// <param name="guestOffset">An offset on the disk in bytes.</param>
    public int L2Index(long guestOffset) => (int)((guestOffset >> ClusterBits) & (L2EntriesPerTable - 1));

    /// <summary>The number of bits of a bitmap over the whole disk.</summary>
    /// <param name="granularityBits">The granularity as a power of two.</param>
    public long BitmapBits(int granularityBits) => DivideRoundingUpByPowerOfTwo(VirtualSizeBytes, granularityBits);

    /// <summary>Entries of the table of a bitmap over the whole disk. Spec: "Bitmap table".</summary>
    /// <param name="granularityBits">The granularity as a power of two.</param>
    public long BitmapTableEntries(int granularityBits) =>
        DivideRoundingUpByPowerOfTwo(BitmapBits(granularityBits), ClusterBits + 3);

    /// <summary>Divides, rounding up; no intermediate overflows.</summary>
    public static long DivideRoundingUp(long dividend, long divisor) =>
        (dividend / divisor) + (dividend % divisor == 0 ? 0 : 1);

    /// <summary>Divides by a power of two, rounding up; no intermediate overflows.</summary>
    public static long DivideRoundingUpByPowerOfTwo(long dividend, int bits) =>
        (dividend >> bits) + ((dividend & ((1L << bits) - 1)) == 0 ? 0 : 1);
}
