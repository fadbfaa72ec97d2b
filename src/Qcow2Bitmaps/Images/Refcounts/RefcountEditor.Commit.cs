using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>Writing the counts, in order.</summary>
internal sealed partial class RefcountEditor
{
    private readonly List<ClusterRange> _freed = [];
    private readonly Stack<long[]> _linked = [];
    private ClusterRange? _oldTable;
    private SwitchPlan? _tableSwitch;

    /// <summary>Whether the header refers, or may refer, to a new table.</summary>
    public bool HasMovedTable => _oldTable is not null;

    /// <summary>Marks clusters as unused after the switch; their counts fall in <see cref="ReleaseAsync"/>.</summary>
    public void Free(ulong offset, long bytes)
    {
        var freed = ClusterRange.Of(_geometry, offset, bytes);
        ClusterRange.Append(_freed, freed.First, freed.Count);
    }

    /// <summary>Makes all allocations durable, with the data that were written to them, so that the image can be switched to
    /// them.</summary>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <param name="isAlone">Whether no caller writes data meanwhile; otherwise the file's length is not changed, as setting it could cut
    /// off data being written.</param>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask PublishAsync(CancellationToken cancellationToken, bool isAlone = true)
    {
        HostOffset tableOffset = _isTableMoved ? await WriteNewTableAsync(cancellationToken).ConfigureAwait(false) : default;
        await WriteBlocksAsync(cancellationToken).ConfigureAwait(false);
        if (isAlone)
        {
            await ClusterSpace.FillLastClusterAsync(_storage, _geometry, _originalLength, cancellationToken).ConfigureAwait(false);
        }

        await _storage.FlushAsync(cancellationToken).ConfigureAwait(false);
        if (_isTableMoved)
        {
            await SwitchTableAsync(tableOffset, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            await LinkBlocksAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Lowers the counts of freed clusters, and discards their space.</summary>
    /// <param name="live">The structures in use now: their counts stay above zero, except those of a moved refcount table.</param>
    /// <param name="cancellationToken">Ends the work; what is not freed by then is leaked.</param>
    /// <exception cref="IOException">The storage failed; what is not freed by then is leaked.</exception>
    public async ValueTask ReleaseAsync(LiveMetadata live, CancellationToken cancellationToken)
    {
        if (_oldTable is { } table)
        {
            _freed.Add(table);
        }

        var unused = new List<ClusterRange>();
        _freed.Sort(static (one, other) => one.First.Number.CompareTo(other.First.Number));
        foreach (ClusterRange range in _freed)
        {
            for (HostCluster cluster = range.First; cluster < range.End; cluster++)
            {
                ulong count = await ReadAsync(cluster, cancellationToken).ConfigureAwait(false);
                if (count == 0 || (count == 1 && !IsInOldTable(cluster) && live.Find(cluster) is not null))
                {
                    // The counts were already wrong; a check reports that.
                    continue;
                }

                await SetAsync(cluster, count - 1, cancellationToken).ConfigureAwait(false);
                if (count == 1)
                {
                    ClusterRange.Append(unused, cluster, 1);
                    _search.Include(cluster);
                }
            }
        }

        await WriteBlocksAsync(cancellationToken).ConfigureAwait(false);
        await DiscardAsync(unused, cancellationToken).ConfigureAwait(false);
        _freed.Clear();
        _oldTable = null;
    }

    /// <summary>Undoes all allocations, before anything refers to them, as far as the storage still works.</summary>
    /// <exception cref="IOException">The storage failed; what was allocated is leaked.</exception>
    public async ValueTask RollBackAsync(CancellationToken cancellationToken)
    {
        await UnlinkAsync(cancellationToken).ConfigureAwait(false);
        foreach (RefcountBlockEdit block in _edits.Values)
        {
            await block.RestoreAsync(_storage, cancellationToken).ConfigureAwait(false);
        }

        if (_storage.CapacityBytes is null && _storage.Length > _originalLength)
        {
            await _storage.SetLengthAsync(_originalLength, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask DiscardAsync(List<ClusterRange> unused, CancellationToken cancellationToken)
    {
        try
        {
            foreach (ClusterRange range in unused)
            {
                long offset = _geometry.OffsetOf(range.First).Bytes;
                await _storage.DiscardAsync(offset, _geometry.BytesOfClusters(range.Count), cancellationToken).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // The discard is a hint and may fail: the clusters are free anyway.
        }
    }

    private bool IsInOldTable(HostCluster cluster) => _oldTable is { } table && table.First <= cluster && cluster < table.End;

    private async ValueTask WriteBlocksAsync(CancellationToken cancellationToken)
    {
        foreach (RefcountBlockEdit block in _edits.Values.OrderBy(static block => block.Offset))
        {
            await block.WriteAsync(_storage, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Writes the larger table to clusters of its own, together with the blocks that these may need.</summary>
    private async ValueTask<HostOffset> WriteNewTableAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            int entries = Stored.Table.Length;
            long clusters = _geometry.ClustersFor(ImageGeometry.BytesOfEntries(entries));
            HostCluster first = await TakeRunAsync(clusters, cancellationToken).ConfigureAwait(false);
            if (entries == Stored.Table.Length)
            {
                HostOffset offset = _geometry.OffsetOf(first);
                await _storage.WriteAsync(offset.Bytes, BigEndianTable.BytesOf(Stored.Table), cancellationToken).ConfigureAwait(false);
                return offset;
            }

            // Counting the table's own clusters made it grow again.
            for (HostCluster cluster = first; cluster < first + clusters; cluster++)
            {
                await SetAsync(cluster, 0, cancellationToken).ConfigureAwait(false);
            }

            _search.Include(first);
        }
    }

    private async ValueTask SwitchTableAsync(HostOffset tableOffset, CancellationToken cancellationToken)
    {
        long clusters = _geometry.ClustersFor(ImageGeometry.BytesOfEntries(Stored.Table.Length));
        _tableSwitch = await new HeaderChange().SetRefcountTable(tableOffset.Raw, (uint)clusters)
            .PlanAsync(_storage, Stored.Header, cancellationToken).ConfigureAwait(false);
        _oldTable = new ClusterRange(_geometry.ClusterAt(Stored.Header.RefcountTableOffset), Stored.Header.RefcountTableClusters);
        await _tableSwitch.ApplyAsync(_storage).ConfigureAwait(false);
    }

    /// <summary>Adds new blocks to the table: a block whose count is in another new block only after that one.</summary>
    private async ValueTask LinkBlocksAsync(CancellationToken cancellationToken)
    {
        if (_newBlocks.Count == 0)
        {
            return;
        }

        var waiting = _newBlocks.Select(static block => block.Block).ToHashSet();
        while (waiting.Count > 0)
        {
            long[] ready = [..
                from block in _newBlocks
                let counting = _geometry.RefcountBlockOf(block.Cluster)
                where waiting.Contains(block.Block) && (counting == block.Block || !waiting.Contains(counting))
                select block.Block];
            _linked.Push(ready);
            await WriteEntriesAsync(ready, block => Stored.Table[block], cancellationToken).ConfigureAwait(false);
            waiting.ExceptWith(ready);
        }
    }

    /// <summary>Unlinks new blocks, or a larger table: in reverse order, so that everything in use is counted at all times.</summary>
    private async ValueTask UnlinkAsync(CancellationToken cancellationToken)
    {
        if (_oldTable is not null)
        {
            await _tableSwitch!.RevertAsync(_storage, _tableSwitch.Stages.Count).ConfigureAwait(false);
        }

        foreach (long[] blocks in _linked)
        {
            await WriteEntriesAsync(blocks, static _ => 0, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask WriteEntriesAsync(long[] blocks, Func<long, ulong> valueOf, CancellationToken cancellationToken)
    {
        foreach (long block in blocks)
        {
            var entry = new byte[ImageGeometry.TableEntryBytes];
            BinaryPrimitives.WriteUInt64BigEndian(entry, valueOf(block));
            ulong offset = ImageGeometry.EntryOffset(Stored.Header.RefcountTableOffset, block);
            await _storage.WriteAsync((long)offset, entry, cancellationToken).ConfigureAwait(false);
        }

        await _storage.FlushAsync(cancellationToken).ConfigureAwait(false);
    }
}
