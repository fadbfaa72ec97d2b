using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>Finding clusters that are free before and after the switch.</summary>
internal sealed partial class ShadowRefcounts
{
    private readonly List<ClusterRange> _allocated = [];
    private readonly ClusterSearch _search;
    private HostCluster _dataPosition;

    /// <summary>Allocates contiguous clusters for a structure: their counts become 1.</summary>
    /// <param name="bytes">The structure's length in bytes.</param>
    /// <param name="cancellationToken">Ends the reading of counts.</param>
    /// <returns>Where the first one starts, in bytes.</returns>
    /// <exception cref="NoSpaceException">The storage cannot grow and has too few free clusters.</exception>
    /// <exception cref="Qcow2FormatException">A cluster that is free by its count is in use.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<HostOffset> AllocateAsync(long bytes, CancellationToken cancellationToken)
    {
        long clusters = Math.Max(1, _geometry.ClustersFor(bytes));
        HostCluster first = clusters == 1
            ? await _search.FindOneAsync(IsFreeAsync, cancellationToken).ConfigureAwait(false)
            : await _search.FindRunAsync(clusters, _search.Position, IsFreeAsync, cancellationToken).ConfigureAwait(false);
        await TakeAsync(first, clusters, cancellationToken).ConfigureAwait(false);
        return _geometry.OffsetOf(first);
    }

    /// <summary>Allocates contiguous clusters for guest data; in a file, past its end, where everything reads as zeros.</summary>
    /// <returns>Where the first one starts, in bytes.</returns>
    /// <inheritdoc cref="AllocateAsync" path="/exception"/>
    public async ValueTask<HostOffset> AllocateDataAsync(long clusters, CancellationToken cancellationToken)
    {
        HostCluster from = _storage.CapacityBytes is null ? new HostCluster(_geometry.ClustersFor(_originalLength)) : _search.Position;
        from = from < _dataPosition ? _dataPosition : from;
        HostCluster first = await _search.FindRunAsync(clusters, from, IsFreeAsync, cancellationToken).ConfigureAwait(false);
        _dataPosition = first + clusters;
        await TakeAsync(first, clusters, cancellationToken).ConfigureAwait(false);
        return _geometry.OffsetOf(first);
    }

    private async ValueTask TakeAsync(HostCluster first, long clusters, CancellationToken cancellationToken)
    {
        for (HostCluster cluster = first; cluster < first + clusters; cluster++)
        {
            if (_live.Find(cluster) is { } what)
            {
                throw ClusterSpace.InUse(what, _geometry.OffsetOf(cluster), _storage.Name);
            }

            long index = _geometry.RefcountBlockOf(cluster);
            ShadowBlock block = HasBlock(index) ? await LoadAsync(index, cancellationToken).ConfigureAwait(false) : AddBlock(index);
            Change(block);
            RefcountBlock.Write(block.Bytes, _geometry.RefcountIndexOf(cluster), _geometry.RefcountOrder, 1);
        }

        ClusterRange.Append(_allocated, first, clusters);
    }

    private async ValueTask<bool?> IsFreeAsync(HostCluster cluster, CancellationToken cancellationToken)
    {
        if (await ReadAsync(cluster, cancellationToken).ConfigureAwait(false) != 0)
        {
            return false;
        }

        long index = _geometry.RefcountBlockOf(cluster);
        if (!_stored.HasBlock(index))
        {
            return true;
        }

        byte[] old = await _stored.FindBlockAsync(index, cancellationToken).ConfigureAwait(false);
        return RefcountBlock.Read(old, _geometry.RefcountIndexOf(cluster), _geometry.RefcountOrder) == 0;
    }
}
