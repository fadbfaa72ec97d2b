using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>Finding clusters that are free before and after the switch.</summary>
internal sealed partial class ShadowRefcounts
{
    private readonly List<ClusterRange> _allocated = [];
    private readonly ClusterSearch _search;
    private long _dataPosition;

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
            ? await _search.FindOneAsync(IsFreeAsync, cancellationToken).ConfigureAwait(false)
            : await _search.FindRunAsync(clusters, _search.Position, IsFreeAsync, cancellationToken).ConfigureAwait(false);
        await TakeAsync(first, clusters, cancellationToken).ConfigureAwait(false);
        return first << _geometry.ClusterBits;
    }

    /// <summary>Allocates clusters that follow one another for guest data: of a file behind its end, where all reads as zeros.</summary>
    /// <returns>Where the first one starts, in bytes.</returns>
    /// <inheritdoc cref="AllocateAsync" path="/exception"/>
    public async ValueTask<long> AllocateDataAsync(long clusters, CancellationToken cancellationToken)
    {
        long from = Math.Max(_dataPosition, _storage.CapacityBytes is null ? _geometry.ClustersFor(_originalLength) : _search.Position);
        long first = await _search.FindRunAsync(clusters, from, IsFreeAsync, cancellationToken).ConfigureAwait(false);
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

    private async ValueTask<bool?> IsFreeAsync(long cluster, CancellationToken cancellationToken)
    {
        if (await ReadAsync(cluster, cancellationToken).ConfigureAwait(false) != 0)
        {
            return false;
        }

        long index = cluster / _geometry.RefcountsPerBlock;
        return !_stored.HasBlock(index)
            || RefcountBlock.Read(await _stored.FindBlockAsync(index, cancellationToken).ConfigureAwait(false), (int)(cluster % _geometry.RefcountsPerBlock), _geometry.RefcountOrder) == 0;
    }
}
