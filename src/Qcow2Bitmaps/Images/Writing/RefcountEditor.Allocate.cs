namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Finding free clusters, and making room to count new ones.</summary>
internal sealed partial class RefcountEditor
{
    private readonly long _endCluster;
    private readonly List<ClusterRange> _allocated = [];
    private readonly List<(long Block, long Cluster)> _newBlocks = [];
    private long _searchStart;
    private long _position;
    private bool _isAround;
    private bool _isTableMoved;

    /// <summary>The clusters that were allocated, the refcounts' own not among them.</summary>
    public IReadOnlyList<ClusterRange> Allocated => _allocated;

    /// <summary>The clusters that were taken for new refcount blocks.</summary>
    public IEnumerable<long> NewBlockClusters => _newBlocks.Select(static block => block.Cluster);

    /// <summary>Allocates clusters that follow one another: their counts become 1, in memory.</summary>
    /// <param name="clusters">How many.</param>
    /// <param name="cancellationToken">Ends the reading of counts.</param>
    /// <returns>The first one's number.</returns>
    /// <exception cref="NoSpaceException">There are not as many on a storage that cannot grow.</exception>
    /// <exception cref="Qcow2FormatException">A cluster that is free by its count is in use.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<long> AllocateAsync(long clusters, CancellationToken cancellationToken)
    {
        long first = clusters == 1
            ? await TakeOneAsync(cancellationToken).ConfigureAwait(false)
            : await TakeRunAsync(clusters, cancellationToken).ConfigureAwait(false);
        ClusterRange.Append(_allocated, first, clusters);
        return first;
    }

    private void StartSearch()
    {
        _searchStart = ClusterSpace.SearchStartOf(_table, _geometry);
        _position = _searchStart;
    }

    private async ValueTask<long> TakeOneAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            if (_position >= (_isAround ? _searchStart : _endCluster))
            {
                if (_isAround || _searchStart == 0)
                {
                    throw ClusterSpace.OutOfClusters(1, _geometry, _storage);
                }

                _isAround = true;
                _position = 0;
                continue;
            }

            long block = _position / _geometry.RefcountsPerBlock;
            if (!HasBlock(block))
            {
                // The block counts itself: whatever of the two a crash leaves, the other is not missed.
                long own = _position;
                Require(own);
                AddBlock(block, own);
                _position++;
                continue;
            }

            long cluster = _position++;
            if (await ReadAsync(cluster, cancellationToken).ConfigureAwait(false) == 0)
            {
                Require(cluster);
                await SetAsync(cluster, 1, cancellationToken).ConfigureAwait(false);
                return cluster;
            }
        }
    }

    private async ValueTask<long> TakeRunAsync(long clusters, CancellationToken cancellationToken)
    {
        long start = _position;
        long end = _endCluster;
        bool isAround = _isAround;
        while (true)
        {
            long first = await FindRunAsync(start, end, clusters, cancellationToken).ConfigureAwait(false);
            if (first >= 0)
            {
                for (long cluster = first; cluster < first + clusters; cluster++)
                {
                    Require(cluster);
                    await SetAsync(cluster, 1, cancellationToken).ConfigureAwait(false);
                }

                return first;
            }

            if (isAround)
            {
                throw ClusterSpace.OutOfClusters(clusters, _geometry, _storage);
            }

            isAround = true;
            start = 0;
        }
    }

    /// <summary>Finds free clusters in a row, after making the blocks that count them.</summary>
    /// <returns>The first one's number, or -1.</returns>
    private async ValueTask<long> FindRunAsync(long start, long end, long clusters, CancellationToken cancellationToken)
    {
        long first = start;
        for (long cluster = start; cluster < end; cluster++)
        {
            long block = cluster / _geometry.RefcountsPerBlock;
            if (!HasBlock(block))
            {
                await AddBlockForAsync(block, cancellationToken).ConfigureAwait(false);
                // It may have taken a cluster out of the run: look at that again.
                cluster = first - 1;
                continue;
            }

            if (await ReadAsync(cluster, cancellationToken).ConfigureAwait(false) != 0)
            {
                first = cluster + 1;
            }
            else if (cluster - first + 1 == clusters)
            {
                return first;
            }
        }

        return -1;
    }

    /// <summary>Makes the block of a range with a cluster of another range, so that the range itself stays whole; with one of its own where no other is free.</summary>
    private async ValueTask AddBlockForAsync(long block, CancellationToken cancellationToken)
    {
        long own = await TakeOneAsync(cancellationToken).ConfigureAwait(false);
        if (!HasBlock(block))
        {
            AddBlock(block, own, isCountedByAnother: true);
            return;
        }

        // Taking the cluster has made the block already.
        await SetAsync(own, 0, cancellationToken).ConfigureAwait(false);
        _position = own;
    }

    private void AddBlock(long block, long own, bool isCountedByAnother = false)
    {
        if (block >= _table.Length)
        {
            ClusterSpace.GrowTable(ref _table, block + 1, _geometry, _limits, _storage.Name);
            _isTableMoved = true;
        }

        long offset = own << _geometry.ClusterBits;
        _table[block] = (ulong)offset;
        RefcountBlockEdit edit = RefcountBlockEdit.OfNew(offset, _geometry.ClusterSizeBytes);
        _edits[block] = edit;
        _newBlocks.Add((block, own));
        if (!isCountedByAnother)
        {
            Set(edit, (int)(own % _geometry.RefcountsPerBlock), 1);
        }
    }

    private void Require(long cluster)
    {
        if (Live?.Find(cluster) is { } what)
        {
            throw ClusterSpace.InUse(what, cluster << _geometry.ClusterBits, _storage.Name);
        }
    }
}
