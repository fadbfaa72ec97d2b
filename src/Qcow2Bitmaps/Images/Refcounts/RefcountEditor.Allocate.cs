using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>Finds free clusters, and adds refcount blocks for new ones.</summary>
internal sealed partial class RefcountEditor
{
    private readonly List<ClusterRange> _allocated = [];
    private readonly List<(long Block, HostCluster Cluster)> _newBlocks = [];
    private readonly ClusterSearch _search;
    private readonly Func<HostCluster, CancellationToken, ValueTask<bool?>> _isOneFree;
    private readonly Func<HostCluster, CancellationToken, ValueTask<bool?>> _isFreeInRun;
    private bool _isTableMoved;

    /// <summary>The allocated clusters, except those of refcount structures.</summary>
    public IReadOnlyList<ClusterRange> Allocated => _allocated;

    /// <summary>The clusters of new refcount blocks.</summary>
    public IEnumerable<HostCluster> NewBlockClusters => _newBlocks.Select(static block => block.Cluster);

    /// <summary>Allocates contiguous clusters: their counts become 1, in memory.</summary>
    /// <param name="clusters">How many.</param>
    /// <param name="cancellationToken">Ends the reading of counts.</param>
    /// <returns>The first one's number.</returns>
    /// <exception cref="NoSpaceException">The storage cannot grow and has too few free clusters.</exception>
    /// <exception cref="Qcow2FormatException">A cluster that is free by its count is in use.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<HostCluster> AllocateAsync(long clusters, CancellationToken cancellationToken)
    {
        HostCluster first = clusters == 1
            ? await TakeOneAsync(cancellationToken).ConfigureAwait(false)
            : await TakeRunAsync(clusters, cancellationToken).ConfigureAwait(false);
        ClusterRange.Append(_allocated, first, clusters);
        return first;
    }

    private async ValueTask<HostCluster> TakeOneAsync(CancellationToken cancellationToken)
    {
        HostCluster cluster = await _search.FindOneAsync(_isOneFree, cancellationToken).ConfigureAwait(false);
        Require(cluster);
        await SetAsync(cluster, 1, cancellationToken).ConfigureAwait(false);
        return cluster;
    }

    private async ValueTask<bool?> IsOneFreeAsync(HostCluster cluster, CancellationToken cancellationToken)
    {
        long block = _geometry.RefcountBlockOf(cluster);
        if (Stored.HasBlock(block))
        {
            return await ReadAsync(cluster, cancellationToken).ConfigureAwait(false) == 0;
        }

        // The block counts itself: whichever of the two a crash leaves, the other is not needed.
        Require(cluster);
        AddBlock(block, cluster);
        return false;
    }

    private async ValueTask<HostCluster> TakeRunAsync(long clusters, CancellationToken cancellationToken)
    {
        HostCluster first = await _search.FindRunAsync(clusters, _search.Position, _isFreeInRun, cancellationToken).ConfigureAwait(false);
        for (HostCluster cluster = first; cluster < first + clusters; cluster++)
        {
            Require(cluster);
            await SetAsync(cluster, 1, cancellationToken).ConfigureAwait(false);
        }

        return first;
    }

    private async ValueTask<bool?> IsFreeInRunAsync(HostCluster cluster, CancellationToken cancellationToken)
    {
        long block = _geometry.RefcountBlockOf(cluster);
        if (Stored.HasBlock(block))
        {
            return await ReadAsync(cluster, cancellationToken).ConfigureAwait(false) == 0;
        }

        await AddBlockForAsync(block, cancellationToken).ConfigureAwait(false);
        // It may have taken a cluster out of the run.
        return null;
    }

    /// <summary>Makes the block of a range with a cluster of another range, so that the range itself stays whole; with one of its own where
    /// no other is free.</summary>
    private async ValueTask AddBlockForAsync(long block, CancellationToken cancellationToken)
    {
        HostCluster own = await TakeOneAsync(cancellationToken).ConfigureAwait(false);
        if (!Stored.HasBlock(block))
        {
            AddBlock(block, own, isCountedByAnother: true);
            return;
        }

        // Allocating the cluster has already created the block.
        await SetAsync(own, 0, cancellationToken).ConfigureAwait(false);
        _search.Include(own);
    }

    private void AddBlock(long block, HostCluster own, bool isCountedByAnother = false)
    {
        if (block >= Stored.Table.Length)
        {
            Stored.Table = ClusterSpace.Grow(Stored.Table, block + 1, _geometry, _limits, _storage.Name);
            _isTableMoved = true;
        }

        HostOffset offset = _geometry.OffsetOf(own);
        Stored.Table[block] = offset.Raw;
        RefcountBlockEdit edit = RefcountBlockEdit.OfNew(offset.Bytes, _geometry.ClusterSizeBytes);
        _edits[block] = edit;
        _newBlocks.Add((block, own));
        if (!isCountedByAnother)
        {
            Set(edit, _geometry.RefcountIndexOf(own), 1);
        }
    }

    private void Require(HostCluster cluster)
    {
        if (Live.Find(cluster) is { } what)
        {
            throw ClusterSpace.InUse(what, _geometry.OffsetOf(cluster), _storage.Name);
        }
    }
}
