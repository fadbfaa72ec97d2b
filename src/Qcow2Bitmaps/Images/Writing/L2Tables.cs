using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>The L2 tables that an L1 table refers to, each once, in file order.</summary>
internal sealed class L2Tables
{
    private const int PieceBytes = 2 << 20;

    private readonly ImageStorage _storage;
    private readonly ImageGeometry _geometry;
    private readonly NamedTable[] _tables;

    private L2Tables(ImageStorage storage, ImageGeometry geometry, NamedTable[] tables)
    {
        _storage = storage;
        _geometry = geometry;
        _tables = tables;
    }

    public int Count => _tables.Length;

    /// <summary>A table.</summary>
    public NamedTable this[int index] => _tables[index];

    /// <summary>Sets the new offset of a table.</summary>
    public void Move(int index, HostOffset newOffset) => _tables[index] = _tables[index] with { NewOffset = newOffset };

    /// <summary>Lists the tables.</summary>
    /// <exception cref="Qcow2FormatException">An L1 entry is invalid.</exception>
    public static L2Tables Of(ImageStorage storage, ImageGeometry geometry, ulong l1Offset, ReadOnlySpan<ulong> l1)
    {
        var offsets = new List<ulong>();
        for (int i = 0; i < l1.Length; i++)
        {
            var entry = new L1Entry(l1[i]);
            if (!geometry.IsClusterAligned(entry.L2TableOffset))
            {
                throw new Qcow2FormatException(
                    Faults.OfHex(
                        FaultCode.L1EntryUnaligned, "L1 table", $"entry {i}", ImageGeometry.EntryOffset(l1Offset, i), entry.Raw,
                        $"an offset that is a multiple of {geometry.ClusterSizeBytes}"),
                    storage.Name);
            }

            if (entry.IsAllocated)
            {
                offsets.Add(entry.L2TableOffset);
            }
        }

        offsets.Sort();
        var tables = new List<NamedTable>(offsets.Count);
        foreach (ulong offset in offsets)
        {
            if (tables.Count > 0 && tables[^1].Offset.Raw == offset)
            {
                tables[^1] = tables[^1] with { Times = tables[^1].Times + 1 };
            }
            else
            {
                tables.Add(new NamedTable(HostOffset.Of(offset), 1, HostOffset.Of(offset)));
            }
        }

        return new L2Tables(storage, geometry, [.. tables]);
    }

    /// <summary>Reads tables, contiguous ones together; tables that are holes are skipped, as they refer to nothing.</summary>
    /// <param name="isWanted">Selects tables by index.</param>
    /// <param name="visit">Receives a table's index and its bytes, which it may change.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public async ValueTask ReadEachAsync(
        Func<int, ValueTask<bool>> isWanted, Func<int, Memory<byte>, ValueTask> visit, CancellationToken cancellationToken)
    {
        int tableBytes = _geometry.ClusterSizeBytes;
        var buffer = new byte[Math.Max(PieceBytes, tableBytes)];
        StorageRange? data = new StorageRange(0, 0);
        for (int first = 0; first < _tables.Length;)
        {
            if (!await isWanted(first).ConfigureAwait(false))
            {
                first++;
                continue;
            }

            long start = _tables[first].Offset.Bytes;
            if (data is { } known && known.EndOffset <= start)
            {
                data = await _storage.FindDataAsync(start, cancellationToken).ConfigureAwait(false);
            }

            if (data is not { } range)
            {
                return;
            }

            if (range.Offset >= start + tableBytes)
            {
                first++;
                continue;
            }

            int end = first + 1;
            while (end < _tables.Length
                && _tables[end].Offset == _tables[end - 1].Offset + tableBytes
                && _tables[end].Offset.Bytes - start + tableBytes <= buffer.Length
                && await isWanted(end).ConfigureAwait(false))
            {
                end++;
            }

            Memory<byte> piece = buffer.AsMemory(0, (end - first) * tableBytes);
            await _storage.ReadZeroFilledAsync(start, piece, cancellationToken).ConfigureAwait(false);
            for (int i = first; i < end; i++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                await visit(i, buffer.AsMemory((i - first) * tableBytes, tableBytes)).ConfigureAwait(false);
            }

            first = end;
        }
    }

    /// <summary>Sets each L1 entry to the new offset of its table.</summary>
    public void Apply(Span<ulong> l1, Func<ulong, bool> isCopied)
    {
        for (int i = 0; i < l1.Length; i++)
        {
            var entry = new L1Entry(l1[i]);
            if (entry.IsAllocated)
            {
                ulong offset = _tables[Find(entry.L2TableOffset)].NewOffset.Raw;
                l1[i] = L1Entry.Create(offset, isCopied(offset)).Raw;
            }
        }
    }

    private int Find(ulong offset)
    {
        int low = 0;
        for (int high = _tables.Length; low < high;)
        {
            int middle = (low + high) / 2;
            (low, high) = _tables[middle].Offset.Raw < offset ? (middle + 1, high) : (low, middle);
        }

        return low;
    }
}
