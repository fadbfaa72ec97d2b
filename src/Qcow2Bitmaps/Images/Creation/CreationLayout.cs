using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Creation;

// Decisions: docs/decisions/images-creation.md.
/// <summary>Which cluster of a new image is what. The same as qemu-img's, as long as one cluster holds the refcount table.</summary>
/// <remarks>
/// QEMU starts with a refcount table of one cluster, and moves it when it grows. Here it has its final size
/// from the start, so that nothing moves.
/// </remarks>
internal sealed class CreationLayout
{
    // QEMU preallocates in pieces below 2 GiB, each of one L2 table.
    private const long MaxPieceBytes = int.MaxValue;

    private readonly ImageGeometry _geometry;
    private readonly bool _allocatesTables;
    private readonly bool _allocatesData;
    private readonly bool _takesSpace;
    private readonly long _maxBlocks;

    private CreationLayout(ImageGeometry geometry, Qcow2CreateOptions options, Qcow2Limits limits)
    {
        _geometry = geometry;
        _allocatesTables = options.AllocatesMetadata;
        _allocatesData = _allocatesTables && options.DataFile is null;
        _takesSpace = options.Preallocation.TakesSpace();
        _maxBlocks = limits.MaxRefcountTableBytes / ImageGeometry.TableEntryBytes;
    }

    /// <summary>The clusters of the refcount table, from cluster 1.</summary>
    public long RefcountTableClusters { get; private set; } = 1;

    /// <summary>The first cluster of the L1 table; 0 when the disk is empty.</summary>
    public long L1FirstCluster { get; private set; }

    /// <summary>The length of the file in bytes.</summary>
    public long LengthBytes { get; private set; }

    /// <summary>Computes the layout; null if the file would need more refcount blocks than a refcount table can have.</summary>
    public static CreationLayout? TryFind(ImageGeometry geometry, Qcow2CreateOptions options, Qcow2Limits limits)
    {
        var layout = new CreationLayout(geometry, options, limits);
        while (true)
        {
            ClusterAllocation allocation = layout.NewAllocation();
            ClusterRun last = default;
            foreach (ClusterRun run in layout.Walk(allocation))
            {
                last = run;
                if (run.Use == ClusterUse.L1Table)
                {
                    layout.L1FirstCluster = run.First;
                }
            }

            if (allocation.IsFull)
            {
                return null;
            }

            layout.LengthBytes = layout.LengthOf(allocation, last);
            long tableClusters = geometry.ClustersFor(ImageGeometry.BytesOfEntries(allocation.Blocks.Count));
            if (tableClusters <= layout.RefcountTableClusters)
            {
                return layout;
            }

            layout.RefcountTableClusters = tableClusters;
        }
    }

    public ClusterAllocation NewAllocation() => new(_geometry.RefcountsPerBlock, _maxBlocks);

    /// <summary>Enumerates the file after the refcount table; the result is always the same. Ends early when the allocation is
    /// full.</summary>
    public IEnumerable<ClusterRun> Walk(ClusterAllocation allocation)
    {
        allocation.Allocate(1 + RefcountTableClusters);
        long l1Entries = _geometry.L1EntriesNeeded;
        if (l1Entries == 0)
        {
            yield break;
        }

        long l1Clusters = _geometry.ClustersFor(l1Entries * ImageGeometry.TableEntryBytes);
        yield return new ClusterRun(ClusterUse.L1Table, allocation.Allocate(l1Clusters), l1Clusters, 0);
        long guestClusters = _allocatesTables ? _geometry.ClustersFor(_geometry.VirtualSizeBytes) : 0;
        for (long guest = 0; guest < guestClusters && !allocation.IsFull;)
        {
            if (guest % _geometry.L2EntriesPerTable == 0)
            {
                yield return new ClusterRun(ClusterUse.L2Table, allocation.Allocate(1), 1, guest);
            }

            if (_allocatesData)
            {
                long rest = Math.Min(guestClusters - guest, _geometry.L2EntriesPerTable - (guest % _geometry.L2EntriesPerTable));
                long count = Math.Min(rest, MaxPieceBytes / _geometry.ClusterSizeBytes);
                yield return new ClusterRun(ClusterUse.Data, allocation.Allocate(count), count, guest);
                guest += count;
            }
            else
            {
                guest += _geometry.L2EntriesPerTable;
            }
        }
    }

    private long LengthOf(ClusterAllocation allocation, ClusterRun last)
    {
        long length = allocation.End << _geometry.ClusterBits;
        if (last.Count == 0 || last.First + last.Count != allocation.End)
        {
            return length;
        }

        // QEMU writes the L1 table up to its last entry, and data up to the end of the last subcluster; space is taken by the cluster.
        return last.Use switch
        {
            ClusterUse.L1Table => (last.First << _geometry.ClusterBits) + (_geometry.L1EntriesNeeded * ImageGeometry.TableEntryBytes),
            ClusterUse.Data when !_takesSpace => ((last.First - last.FirstGuestCluster) << _geometry.ClusterBits)
                + (ImageGeometry.DivideRoundingUp(
                    _geometry.VirtualSizeBytes, _geometry.SubclusterSizeBytes) * _geometry.SubclusterSizeBytes),
            _ => length,
        };
    }
}
