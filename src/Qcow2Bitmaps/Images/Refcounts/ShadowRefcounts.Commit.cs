using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>Writes the counts, and frees space.</summary>
internal sealed partial class ShadowRefcounts
{
    /// <summary>Writes all changed counts and the table to new clusters. Nothing refers to them yet; the caller flushes.</summary>
    /// <returns>The offset in bytes of the table that the header must refer to, and its number of clusters.</returns>
    /// <exception cref="NoSpaceException">The storage cannot grow and has no room.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<(ulong Offset, uint Clusters)> WriteAsync(CancellationToken cancellationToken)
    {
        if (!HasChanges)
        {
            return (_stored.Header.RefcountTableOffset, _stored.Header.RefcountTableClusters);
        }

        await FreeAsync(_stored.Header.RefcountTableOffset, _stored.Header.RefcountTableBytes, cancellationToken).ConfigureAwait(false);
        (HostOffset offset, long clusters) = await PlaceTableAsync(cancellationToken).ConfigureAwait(false);
        foreach (ShadowBlock block in _blocks.Values.Where(static block => block.IsChanged).OrderBy(block => _table[block.Index]))
        {
            await WriteBlockAsync(block, cancellationToken).ConfigureAwait(false);
        }

        await _storage.WriteAsync(offset.Bytes, BigEndianTable.BytesOf(_table), cancellationToken).ConfigureAwait(false);
        await ClusterSpace.FillLastClusterAsync(_storage, _geometry, _originalLength, cancellationToken).ConfigureAwait(false);
        return (offset.Raw, (uint)clusters);
    }

    /// <summary>Discards the space that the switch freed.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask ReleaseAsync(CancellationToken cancellationToken)
    {
        var now = new byte[_geometry.ClusterSizeBytes];
        // Old blocks are read until the end.
        var last = new List<HostCluster>();
        var oldBlocks = _changed.Where(_stored.HasBlock).Select(index => _geometry.ClusterAt(_stored.Table[index])).ToHashSet();
        foreach (long index in _changed.Where(_stored.HasBlock).Order())
        {
            byte[] old = await _stored.FindBlockAsync(index, cancellationToken).ConfigureAwait(false);
            await _stored.FillAsync(index, _table[index], now, cancellationToken).ConfigureAwait(false);
            await DiscardFreedAsync(index, old, now, oldBlocks, last, cancellationToken).ConfigureAwait(false);
        }

        foreach (HostCluster cluster in last)
        {
            await DiscardAsync(cluster, 1, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Undoes what was written, before the switch: nothing refers to it.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask RollBackAsync(CancellationToken cancellationToken)
    {
        if (_storage.CapacityBytes is null && _storage.Length > _originalLength)
        {
            await _storage.SetLengthAsync(_originalLength, cancellationToken).ConfigureAwait(false);
        }

        foreach (ClusterRange range in _allocated.Where(range => _geometry.OffsetOf(range.First).Bytes < _storage.Length))
        {
            await DiscardAsync(range.First, range.Count, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Truncates the file after the last cluster that is counted or referred to, after the switch. Only for files.</summary>
    /// <param name="namedEnd">The end of everything that the image refers to, in bytes: a count may be wrong.</param>
    /// <param name="cancellationToken">Ends the reading of counts.</param>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask CutFileAsync(ulong namedEnd, CancellationToken cancellationToken)
    {
        if (namedEnd > (ulong)_storage.Length)
        {
            throw IOException.Of($"'{_storage.Name}' names clusters behind its file's end");
        }

        HostCluster last = await _stored.WithTable(_table).FindLastCountedAsync(cancellationToken).ConfigureAwait(false);
        long length = _geometry.BytesOfClusters(Math.Max(last.Number + 1, _geometry.ClustersFor((long)namedEnd)));
        if (length < _storage.Length)
        {
            await _storage.SetLengthAsync(length, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask PlaceAsync(long index, CancellationToken cancellationToken)
    {
        if (_unplaced.Contains(index))
        {
            _table[index] = (await AllocateAsync(_geometry.ClusterSizeBytes, cancellationToken).ConfigureAwait(false)).Raw;
            _unplaced.Remove(index);
        }
    }

    /// <summary>Allocates a cluster for each changed block, frees the old ones, and allocates the table: each of these may change other
    /// blocks.</summary>
    private async ValueTask<(HostOffset Offset, long Clusters)> PlaceTableAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            await PlaceBlocksAsync(cancellationToken).ConfigureAwait(false);
            int entries = _table.Length;
            long bytes = ImageGeometry.BytesOfEntries(entries);
            HostOffset offset = await AllocateAsync(bytes, cancellationToken).ConfigureAwait(false);
            await PlaceBlocksAsync(cancellationToken).ConfigureAwait(false);
            if (entries == _table.Length)
            {
                return (offset, _geometry.ClustersFor(bytes));
            }

            // Counting the table's own clusters made it grow again.
            await FreeAsync(offset.Raw, bytes, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask PlaceBlocksAsync(CancellationToken cancellationToken)
    {
        while (_unplaced.Count > 0 || _replaced.Count > 0)
        {
            while (_replaced.TryDequeue(out long index))
            {
                await FreeAsync(_stored.Table[index], _geometry.ClusterSizeBytes, cancellationToken).ConfigureAwait(false);
            }

            foreach (long index in _unplaced.Order().ToArray())
            {
                await PlaceAsync(index, cancellationToken).ConfigureAwait(false);
            }

            await TrimAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask DiscardFreedAsync(
        long index, byte[] old, byte[] now, HashSet<HostCluster> oldBlocks, List<HostCluster> last, CancellationToken cancellationToken)
    {
        HostCluster first = _geometry.ClusterOfRefcount(index, 0);
        int start = -1;
        for (int i = 0; i <= _geometry.RefcountsPerBlock; i++)
        {
            bool isFreed = i < _geometry.RefcountsPerBlock
                && RefcountBlock.Read(old, i, _geometry.RefcountOrder) != 0 && RefcountBlock.Read(now, i, _geometry.RefcountOrder) == 0;
            if (isFreed && oldBlocks.Contains(first + i))
            {
                last.Add(first + i);
                isFreed = false;
            }

            if (isFreed && start < 0)
            {
                start = i;
            }
            else if (!isFreed && start >= 0)
            {
                await DiscardAsync(first + start, i - start, cancellationToken).ConfigureAwait(false);
                start = -1;
            }
        }
    }

    private async ValueTask DiscardAsync(HostCluster first, long clusters, CancellationToken cancellationToken)
    {
        try
        {
            long offset = _geometry.OffsetOf(first).Bytes;
            await _storage.DiscardAsync(offset, _geometry.BytesOfClusters(clusters), cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // The discard is a hint and may fail: the clusters are free anyway.
        }
    }
}
