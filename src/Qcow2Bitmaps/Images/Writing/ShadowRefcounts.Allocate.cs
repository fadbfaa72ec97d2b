using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Finding clusters that are free before and after the switch.</summary>
internal sealed partial class ShadowRefcounts
{
    private readonly long _endCluster;
    private readonly List<ClusterRange> _allocated = [];
    private (long Index, byte[] Bytes) _oldBlock = (-1, []);
    private long _searchStart;
    private long _position;
    private long _dataPosition;
    private bool _isAround;

    /// <summary>Allocates clusters that follow one another for a structure: their counts become 1.</summary>
    /// <param name="bytes">How many bytes the structure has.</param>
    /// <param name="cancellationToken">Ends the reading of counts.</param>
    /// <returns>Where the first one starts, in bytes.</returns>
    /// <exception cref="NoSpaceException">There are not as many on a storage that cannot grow.</exception>
    /// <exception cref="Qcow2FormatException">A cluster that is free by its count is in use.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<long> AllocateAsync(long bytes, CancellationToken cancellationToken)
    {
        long clusters = Math.Max(1, _geometry.ClustersFor(bytes));
        long first = clusters == 1
            ? await FindOneAsync(cancellationToken).ConfigureAwait(false)
            : await FindRunAsync(clusters, _position, cancellationToken).ConfigureAwait(false);
        await TakeAsync(first, clusters, cancellationToken).ConfigureAwait(false);
        return first << _geometry.ClusterBits;
    }

    /// <summary>Allocates clusters that follow one another for guest data: of a file behind its end, where all reads as zeros.</summary>
    /// <returns>Where the first one starts, in bytes.</returns>
    /// <inheritdoc cref="AllocateAsync" path="/exception"/>
    public async ValueTask<long> AllocateDataAsync(long clusters, CancellationToken cancellationToken)
    {
        long from = Math.Max(_dataPosition, _storage.CapacityBytes is null ? _geometry.ClustersFor(_originalLength) : _position);
        long first = await FindRunAsync(clusters, from, cancellationToken).ConfigureAwait(false);
        _dataPosition = first + clusters;
        await TakeAsync(first, clusters, cancellationToken).ConfigureAwait(false);
        return first << _geometry.ClusterBits;
    }

    private async ValueTask TakeAsync(long first, long clusters, CancellationToken cancellationToken)
    {
        for (long cluster = first; cluster < first + clusters; cluster++)
        {
            if (_live.Find(cluster) is { } what)
            {
                throw ClusterSpace.InUse(what, cluster << _geometry.ClusterBits, _storage.Name);
            }

            long index = cluster / _geometry.RefcountsPerBlock;
            ShadowBlock block = HasBlock(index) ? await LoadAsync(index, cancellationToken).ConfigureAwait(false) : AddBlock(index);
            Change(block);
            RefcountBlock.Write(block.Bytes, (int)(cluster % _geometry.RefcountsPerBlock), _geometry.RefcountOrder, 1);
        }

        ClusterRange.Append(_allocated, first, clusters);
    }

    private void StartSearch(bool searchesAll)
    {
        if (searchesAll)
        {
            return;
        }

        _searchStart = ClusterSpace.SearchStartOf(_table, _geometry);
        _position = _searchStart;
    }

    private async ValueTask<long> FindOneAsync(CancellationToken cancellationToken)
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

            long cluster = _position++;
            if (await IsFreeAsync(cluster, cancellationToken).ConfigureAwait(false))
            {
                return cluster;
            }
        }
    }

    private async ValueTask<long> FindRunAsync(long clusters, long from, CancellationToken cancellationToken)
    {
        foreach ((long start, long end) in new[] { (from, _endCluster), (0, _endCluster) })
        {
            long first = start;
            for (long cluster = start; cluster < end; cluster++)
            {
                if (!await IsFreeAsync(cluster, cancellationToken).ConfigureAwait(false))
                {
                    first = cluster + 1;
                }
                else if (cluster - first + 1 == clusters)
                {
                    return first;
                }
            }
        }

        throw ClusterSpace.OutOfClusters(clusters, _geometry, _storage);
    }

    private async ValueTask<bool> IsFreeAsync(long cluster, CancellationToken cancellationToken)
    {
        if (await ReadAsync(cluster, cancellationToken).ConfigureAwait(false) != 0)
        {
            return false;
        }

        long index = cluster / _geometry.RefcountsPerBlock;
        if (index >= _oldTable.Length || _oldTable[index] == 0)
        {
            return true;
        }

        if (_oldBlock.Index != index)
        {
            byte[] bytes = _oldBlock.Bytes.Length > 0 ? _oldBlock.Bytes : new byte[_geometry.ClusterSizeBytes];
            _oldBlock = (-1, bytes);
            await ReadBlockAsync(index, _oldTable[index], bytes, cancellationToken).ConfigureAwait(false);
            _oldBlock = (index, bytes);
        }

        return RefcountBlock.Read(_oldBlock.Bytes, (int)(cluster % _geometry.RefcountsPerBlock), _geometry.RefcountOrder) == 0;
    }
}
