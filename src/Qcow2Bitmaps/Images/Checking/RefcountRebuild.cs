using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>
/// Writes new reference counts for all clusters to free clusters, and switches the image to them with one write to the first sector.
/// </summary>
/// <remarks>
/// Until the switch the image is unchanged, even if some of the new counts are written; after it nothing refers to the old structure.
/// </remarks>
internal sealed class RefcountRebuild(
    ImageStorage storage, Qcow2Header header, Qcow2Limits limits, ReferenceCounts references, RefcountReader stored,
    List<(long First, long Last)> behindEnd)
{
    private readonly ImageGeometry _geometry = header.Geometry;
    private readonly SortedSet<long> _blocks = [];
    private readonly long _length = storage.Length;
    // In ascending order, apart from one another.
    private readonly List<(long First, long Last)> _behindEnd = Merge(behindEnd);
    private readonly HashSet<long> _oldBlocks = storage.CapacityBytes is null
        ? []
        : [.. stored.Table.Select(raw => header.Geometry.ClusterAt(new RefcountTableEntry(raw).BlockOffset & (ulong)long.MaxValue).Number)];

    /// <summary>Writes, flushes, switches, flushes.</summary>
    /// <exception cref="NoSpaceException">The storage cannot grow and has no room.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask RunAsync(CancellationToken cancellationToken)
    {
        AddUsedBlocks();
        (long tableCluster, long tableClusters, long[] blockClusters) = await PlaceAsync(cancellationToken).ConfigureAwait(false);
        SwitchPlan plan;
        try
        {
            await WriteBlocksAsync(tableCluster, tableClusters, blockClusters, cancellationToken).ConfigureAwait(false);
            await WriteTableAsync(tableCluster, tableClusters, blockClusters, cancellationToken).ConfigureAwait(false);
            plan = await new HeaderChange().SetRefcountTable((ulong)tableCluster << _geometry.ClusterBits, (uint)tableClusters)
                .PlanAsync(storage, header, cancellationToken).ConfigureAwait(false);
            await storage.FlushAsync(cancellationToken).ConfigureAwait(false);
        }
        catch when (storage.CapacityBytes is null && storage.Length > _length)
        {
            _ = await Leftovers.TidyAsync(
                $"'{storage.Name}' keeps space that was meant for new reference counts",
                () => storage.SetLengthAsync(_length, CancellationToken.None)).ConfigureAwait(false);
            throw;
        }

        await plan.ApplyAsync(storage).ConfigureAwait(false);
        for (long cluster = tableCluster; cluster < tableCluster + tableClusters; cluster++)
        {
            references.TrySet(cluster, 1);
        }

        foreach (long cluster in blockClusters)
        {
            references.TrySet(cluster, 1);
        }
    }

    private void AddUsedBlocks()
    {
        for (long page = 0; (page = references.NextUsedPage(page, references.PageCount)) < references.PageCount; page++)
        {
            long first = page << ReferenceCounts.PageShift;
            for (long cluster = first; cluster < first + ReferenceCounts.PageClusters; cluster++)
            {
                if (references[cluster] > 0)
                {
                    long block = cluster / _geometry.RefcountsPerBlock;
                    _blocks.Add(block);
                    cluster = Math.Max(cluster, ((block + 1) * _geometry.RefcountsPerBlock) - 1);
                }
            }
        }
    }

    /// <summary>Finds contiguous clusters for the table, and clusters for the blocks; these need blocks with their own counts.</summary>
    private async ValueTask<(long TableCluster, long TableClusters, long[] BlockClusters)> PlaceAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            int blocks = _blocks.Count;
            long tableClusters = _geometry.ClustersFor((_blocks.Max + 1) * ImageGeometry.TableEntryBytes);
            long needed = tableClusters + blocks;
            if (tableClusters << _geometry.ClusterBits > limits.MaxRefcountTableBytes)
            {
                throw IOException.Of($"'{storage.Name}': the refcount table would be longer than {limits.MaxRefcountTableBytes} bytes");
            }

            long position = storage.CapacityBytes is null ? _geometry.ClustersFor(_length) : 0;
            long table = await FindAsync(position, tableClusters, needed, cancellationToken).ConfigureAwait(false);
            var clusters = new long[blocks];
            for (int i = 0; i < blocks; i++)
            {
                position = await FindAsync(position, 1, needed, cancellationToken).ConfigureAwait(false);
                if (position >= table && position < table + tableClusters)
                {
                    position = await FindAsync(table + tableClusters, 1, needed, cancellationToken).ConfigureAwait(false);
                }

                clusters[i] = position++;
            }

            for (long cluster = table; cluster < table + tableClusters; cluster++)
            {
                _blocks.Add(cluster / _geometry.RefcountsPerBlock);
            }

            _blocks.UnionWith(clusters.Select(cluster => cluster / _geometry.RefcountsPerBlock));
            if (_blocks.Count == blocks)
            {
                return (table, tableClusters, clusters);
            }
        }
    }

    /// <summary>
    /// The first of a run of free clusters. A file can grow: space past its end is free, unless a broken entry refers to it.
    /// </summary>
    private async ValueTask<long> FindAsync(long position, long run, long needed, CancellationToken cancellationToken)
    {
        long end = ClusterSpace.EndOf(storage, _geometry).Number;
        long free = 0;
        for (; position < end; position++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (storage.CapacityBytes is null && LastBehindEnd(position) is { } last)
            {
                position = last;
                free = 0;
                continue;
            }

            free = await IsFreeAsync(position, cancellationToken).ConfigureAwait(false) ? free + 1 : 0;
            if (free == run)
            {
                return position - run + 1;
            }
        }

        throw ClusterSpace.OutOfClusters(needed, _geometry, storage);
    }

    private async ValueTask<bool> IsFreeAsync(long cluster, CancellationToken cancellationToken)
    {
        if (references[cluster] > 0 || storage.CapacityBytes is null)
        {
            return references[cluster] == 0;
        }

        // A cluster with a count may be a leak, but also data worth rescuing.
        return !IsOldStructure(cluster)
            && await stored.ReadCountAsync(new HostCluster(cluster), cancellationToken).ConfigureAwait(false) is null or 0;
    }

    private bool IsOldStructure(long cluster)
    {
        long table = _geometry.ClusterAt(header.RefcountTableOffset).Number;
        return (cluster >= table && cluster < table + header.RefcountTableClusters) || _oldBlocks.Contains(cluster);
    }

    /// <summary>The last of the clusters in a row that broken entries refer to; null where none refers to this one.</summary>
    private long? LastBehindEnd(long cluster)
    {
        int index = _behindEnd.BinarySearch((cluster, long.MaxValue));
        (long First, long Last) before = index >= 0 ? _behindEnd[index] : ~index > 0 ? _behindEnd[~index - 1] : (0, -1);
        return before.Last >= cluster ? before.Last : null;
    }

    private static List<(long First, long Last)> Merge(List<(long First, long Last)> ranges)
    {
        var merged = new List<(long First, long Last)>();
        foreach ((long first, long last) in ranges.Order())
        {
            if (merged.Count > 0 && first <= merged[^1].Last + 1)
            {
                merged[^1] = (merged[^1].First, Math.Max(merged[^1].Last, last));
            }
            else
            {
                merged.Add((first, last));
            }
        }

        return merged;
    }

    private async ValueTask WriteBlocksAsync(
        long tableCluster, long tableClusters, long[] blockClusters, CancellationToken cancellationToken)
    {
        var own = blockClusters.ToHashSet();
        var bytes = new byte[_geometry.ClusterSizeBytes];
        foreach ((int index, long block) in _blocks.Index())
        {
            Array.Clear(bytes);
            long first = block * _geometry.RefcountsPerBlock;
            for (int i = 0; i < _geometry.RefcountsPerBlock; i++)
            {
                long cluster = first + i;
                bool isOwn = own.Contains(cluster) || (cluster >= tableCluster && cluster < tableCluster + tableClusters);
                ulong count = isOwn ? 1 : references[cluster];
                if (count > 0)
                {
                    RefcountBlock.Write(bytes, i, _geometry.RefcountOrder, count);
                }
            }

            await storage.WriteAsync(blockClusters[index] << _geometry.ClusterBits, bytes, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask WriteTableAsync(
        long tableCluster, long tableClusters, long[] blockClusters, CancellationToken cancellationToken)
    {
        var table = new ulong[(tableClusters << _geometry.ClusterBits) / ImageGeometry.TableEntryBytes];
        foreach ((int index, long block) in _blocks.Index())
        {
            table[block] = (ulong)blockClusters[index] << _geometry.ClusterBits;
        }

        await storage.WriteAsync(
            tableCluster << _geometry.ClusterBits, BigEndianTable.BytesOf(table), cancellationToken).ConfigureAwait(false);
    }
}
