using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Resizing;

/// <summary>Changes the active L1 table and its L2 tables; changed tables get new clusters.</summary>
internal sealed class TableEditor
{
    private readonly ImageStorage _storage;
    private readonly Qcow2Header _header;
    private readonly ImageGeometry _geometry;
    private readonly ShadowRefcounts _counts;
    private readonly TreeCounts _trees;
    private readonly L2Scan _scan;
    private readonly ulong[] _original;
    private readonly HashSet<HostOffset> _own = [];
    private ulong[] _l1;

    private TableEditor(ImageHandle image, ShadowRefcounts counts, ulong[] l1)
    {
        _storage = image.Storage;
        _header = image.Header;
        _geometry = image.Geometry;
        _counts = counts;
        _trees = new TreeCounts(_storage, _header, counts);
        _scan = new L2Scan(_storage.Name, _header);
        _original = l1;
        _l1 = [.. l1];
    }

    /// <summary>Reads the L1 table.</summary>
    public static async ValueTask<TableEditor> OpenAsync(ImageHandle image, ShadowRefcounts counts, CancellationToken cancellationToken)
    {
        Qcow2Header header = image.Header;
        ulong[] l1 = await BigEndianTable.ReadAsync(
            image.Storage, header.L1TableOffset, header.L1Size, cancellationToken).ConfigureAwait(false);
        Array.Resize(ref l1, (int)header.L1Size);
        return new TableEditor(image, counts, l1);
    }

    /// <summary>Resizes the L1 table, and drops the data of clusters at or after an offset of the disk.</summary>
    public async ValueTask ResizeAsync(long entries, long kept, CancellationToken cancellationToken)
    {
        long firstDropped = _geometry.ClustersFor(kept);
        int index = (int)(firstDropped % _geometry.L2EntriesPerTable);
        long wholeFrom = (firstDropped / _geometry.L2EntriesPerTable) + (index == 0 ? 0 : 1);
        if (wholeFrom < _l1.Length)
        {
            var dropped = L2Tables.Of(_storage, _geometry, _header.L1TableOffset, _l1.AsSpan((int)wholeFrom));
            await _trees.LowerAsync(dropped, cancellationToken).ConfigureAwait(false);
            await _trees.AddTablesAsync(dropped, -1, cancellationToken).ConfigureAwait(false);
            _l1.AsSpan((int)wholeFrom).Clear();
        }

        if (entries != _l1.Length)
        {
            Array.Resize(ref _l1, (int)entries);
        }

        if (index != 0)
        {
            await EditAsync(
                wholeFrom - 1, createsTable: false, (table, token) => DropAsync(table[(index * _geometry.L2EntryBytes)..], token),
                cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Changes the bytes of an L2 table.</summary>
    /// <param name="l1Index">Which one.</param>
    /// <param name="createsTable">Whether to start with an empty table if there is none; otherwise nothing is done then.</param>
    /// <param name="edit">Changes the bytes, and returns whether it did.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    public async ValueTask EditAsync(
        long l1Index, bool createsTable, Func<Memory<byte>, CancellationToken, ValueTask<bool>> edit, CancellationToken cancellationToken)
    {
        var entry = new L1Entry(_l1[l1Index]);
        if (!entry.IsAllocated && !createsTable)
        {
            return;
        }

        var offset = HostOffset.Of(entry.L2TableOffset);
        if (!_geometry.IsClusterAligned(entry.L2TableOffset))
        {
            throw new Qcow2FormatException(
                Faults.OfHex(
                    FaultCode.L1EntryUnaligned, "L1 table", $"entry {l1Index}", ImageGeometry.EntryOffset(_header.L1TableOffset, l1Index),
                    entry.Raw, $"an offset that is a multiple of {_geometry.ClusterSizeBytes}"),
                _storage.Name);
        }

        var bytes = new byte[_geometry.ClusterSizeBytes];
        if (entry.IsAllocated)
        {
            await _storage.ReadZeroFilledAsync(offset.Bytes, bytes, cancellationToken).ConfigureAwait(false);
        }

        if (!await edit(bytes, cancellationToken).ConfigureAwait(false))
        {
            return;
        }

        await _counts.TrimAsync(cancellationToken).ConfigureAwait(false);
        if (!_own.Contains(offset))
        {
            if (entry.IsAllocated)
            {
                await _counts.AddAsync(_geometry.ClusterAt(offset), 1, -1, cancellationToken).ConfigureAwait(false);
            }

            offset = await _counts.AllocateAsync(bytes.Length, cancellationToken).ConfigureAwait(false);
            _own.Add(offset);
            _l1[l1Index] = L1Entry.Create(offset.Raw, isCopied: true).Raw;
        }

        await _storage.WriteAsync(offset.Bytes, bytes, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Writes the L1 table, where it has changed.</summary>
    public async ValueTask WriteL1Async(HeaderChange update, CancellationToken cancellationToken)
    {
        if (_l1.AsSpan().SequenceEqual(_original))
        {
            return;
        }

        byte[] bytes = BigEndianTable.BytesOf(_l1);
        HostOffset offset = await _counts.AllocateAsync(bytes.Length, cancellationToken).ConfigureAwait(false);
        await WholeClusters.WriteAsync(_storage, _geometry, offset, bytes, cancellationToken).ConfigureAwait(false);
        if (_original.Length > 0)
        {
            await _counts.FreeAsync(
                _header.L1TableOffset, ImageGeometry.BytesOfEntries(_original.Length), cancellationToken).ConfigureAwait(false);
        }

        update.SetL1Table(offset.Raw, (uint)_l1.Length);
    }

    private async ValueTask<bool> DropAsync(Memory<byte> entries, CancellationToken cancellationToken)
    {
        if (!entries.Span.ContainsAnyExcept((byte)0))
        {
            return false;
        }

        var clusters = new List<ClusterRange>();
        _scan.List(0, entries.Span, clusters);
        foreach (ClusterRange range in clusters)
        {
            await _counts.AddAsync(range.First, range.Count, -1, cancellationToken).ConfigureAwait(false);
        }

        entries.Span.Clear();
        return true;
    }
}
