using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Adds or removes one count for everything that an L1 table refers to, directly and through its L2 tables, and keeps the "copied"
/// flags (only one reference) correct.</summary>
/// <remarks>Each L1 entry counts everything in its L2 table, even if L2 tables are shared, as in QEMU.</remarks>
internal sealed class TreeCounts(ImageStorage storage, Qcow2Header header, ShadowRefcounts counts)
{
    private readonly ImageGeometry _geometry = header.Geometry;
    private readonly L2Scan _scan = new(storage.Name, header);
    private readonly List<ClusterRange> _clusters = [];

    /// <summary>Adds one count to everything, for another L1 table that refers to it, and clears the flags.</summary>
    /// <param name="tables">The L2 tables; those with flags to clear get new clusters.</param>
    /// <param name="isMoved">Whether the existing L1 table, too, will use the new copies of tables with flags; otherwise only the new L1
    /// table does.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    public ValueTask RaiseAsync(L2Tables tables, bool isMoved, CancellationToken cancellationToken) => tables.ReadEachAsync(
        static _ => ValueTask.FromResult(true),
        async (index, bytes) =>
        {
            NamedTable table = tables[index];
            await AddClustersAsync(table, bytes, table.Times, cancellationToken).ConfigureAwait(false);
            if (_scan.ClearCopied(bytes.Span))
            {
                int times = isMoved ? 2 * table.Times : table.Times;
                tables.Move(index, await MoveAsync(table, bytes, times, isMoved, cancellationToken).ConfigureAwait(false));
            }
        },
        cancellationToken);

    /// <summary>Counts the L2 tables themselves, except those with a new cluster.</summary>
    public async ValueTask AddTablesAsync(L2Tables tables, int sign, CancellationToken cancellationToken)
    {
        for (int i = 0; i < tables.Count; i++)
        {
            NamedTable table = tables[i];
            if (table.NewOffset == table.Offset)
            {
                await counts.AddAsync(_geometry.ClusterAt(table.Offset), 1, sign * table.Times, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Removes one count from everything that the tables refer to, but not from the tables.</summary>
    public ValueTask LowerAsync(L2Tables tables, CancellationToken cancellationToken) => tables.ReadEachAsync(
        static _ => ValueTask.FromResult(true),
        (index, bytes) => AddClustersAsync(tables[index], bytes, -tables[index].Times, cancellationToken),
        cancellationToken);

    /// <summary>Sets the flags in tables for counts that fell to one, and clears wrong ones. A table whose flags change gets a new
    /// cluster.</summary>
    public ValueTask SettleFlagsAsync(L2Tables tables, CancellationToken cancellationToken) => tables.ReadEachAsync(
        // Everything in a shared table is shared.
        async index => await counts.ReadAsync(_geometry.ClusterAt(tables[index].Offset), cancellationToken).ConfigureAwait(false) == 1,
        async (index, bytes) =>
        {
            await counts.TrimAsync(cancellationToken).ConfigureAwait(false);
            if (await SettleAsync(bytes, cancellationToken).ConfigureAwait(false))
            {
                NamedTable table = tables[index];
                tables.Move(index, await MoveAsync(table, bytes, table.Times, isLeft: true, cancellationToken).ConfigureAwait(false));
            }
        },
        cancellationToken);

    /// <summary>Sets the L1 entries to the new offsets of their tables, with their flags.</summary>
    /// <returns>The new table.</returns>
    public async ValueTask<ulong[]> ApplyAsync(L2Tables tables, ulong[] l1, CancellationToken cancellationToken)
    {
        var single = new HashSet<ulong>();
        for (int i = 0; i < tables.Count; i++)
        {
            HostOffset offset = tables[i].NewOffset;
            if (await counts.ReadAsync(_geometry.ClusterAt(offset), cancellationToken).ConfigureAwait(false) == 1)
            {
                single.Add(offset.Raw);
            }
        }

        ulong[] result = [.. l1];
        tables.Apply(result, single.Contains);
        return result;
    }

    private async ValueTask AddClustersAsync(NamedTable table, Memory<byte> bytes, long times, CancellationToken cancellationToken)
    {
        await counts.TrimAsync(cancellationToken).ConfigureAwait(false);
        _scan.List(table.Offset.Bytes, bytes.Span, _clusters);
        foreach (ClusterRange range in _clusters)
        {
            await counts.AddAsync(range.First, range.Count, times, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Writes a table to a new cluster.</summary>
    private async ValueTask<HostOffset> MoveAsync(
        NamedTable table, Memory<byte> bytes, int times, bool isLeft, CancellationToken cancellationToken)
    {
        HostOffset offset = await counts.AllocateAsync(bytes.Length, cancellationToken).ConfigureAwait(false);
        await storage.WriteAsync(offset.Bytes, bytes, cancellationToken).ConfigureAwait(false);
        if (times > 1)
        {
            await counts.AddAsync(_geometry.ClusterAt(offset), 1, times - 1, cancellationToken).ConfigureAwait(false);
        }

        if (isLeft)
        {
            await counts.AddAsync(_geometry.ClusterAt(table.Offset), 1, -table.Times, cancellationToken).ConfigureAwait(false);
        }

        return offset;
    }

    private async ValueTask<bool> SettleAsync(Memory<byte> bytes, CancellationToken cancellationToken)
    {
        bool isChanged = false;
        for (int i = 0; i < bytes.Length; i += _geometry.L2EntryBytes)
        {
            if (_scan.HostClusterOf(bytes.Span[i..]) is not { } cluster)
            {
                continue;
            }

            bool isSingle = await counts.ReadAsync(cluster, cancellationToken).ConfigureAwait(false) == 1;
            isChanged |= L2Scan.SetCopied(bytes.Span[i..], isSingle);
        }

        return isChanged;
    }
}
