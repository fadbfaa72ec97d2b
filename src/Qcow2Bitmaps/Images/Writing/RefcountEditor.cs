using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Reads, allocates and frees the clusters of one image. Changes stay in memory until they are written, in an order that survives a stop at any byte.</summary>
/// <remarks>
/// One round: allocate and write data to what was allocated, <see cref="PublishAsync"/>, switch the image to the new clusters, <see cref="ReleaseAsync"/>; then
/// <see cref="Restart"/> begins another. Counts rise
/// before anything names a cluster and fall when nothing names it any more, so that a stop leaves leaked clusters at worst. Not thread-safe.
/// </remarks>
internal sealed partial class RefcountEditor
{
    private const int CacheBytes = 8 << 20;

    private readonly ImageStorage _storage;
    private Qcow2Header _header;
    private readonly Qcow2Limits _limits;
    private readonly ImageGeometry _geometry;
    private readonly Dictionary<long, RefcountBlockEdit> _edits = [];
    private readonly (long Index, byte[] Bytes)[] _cache;
    private long _originalLength;
    private ulong[] _table;

    private RefcountEditor(ImageStorage storage, Qcow2Header header, Qcow2Limits limits, ulong[] table)
    {
        _storage = storage;
        _header = header;
        _limits = limits;
        _geometry = header.Geometry;
        _table = table;
        _originalLength = storage.Length;
        _cache = new (long, byte[])[Math.Max(2, CacheBytes >> _geometry.ClusterBits)];
        Array.Fill(_cache, (-1, []));
        _endCluster = ClusterSpace.EndOf(storage, _geometry);
        StartSearch();
    }

    /// <summary>The refcount table as it is to be.</summary>
    public ulong[] Table => _table;

    /// <summary>What must not be allocated, whatever its count says. The caller sets it before it allocates.</summary>
    public LiveMetadata? Live { get; set; }

    /// <summary>Reads the refcount table.</summary>
    /// <exception cref="Qcow2FormatException">The table has an entry that cannot be, or does not lie in the file.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<RefcountEditor> OpenAsync(
        ImageStorage storage, Qcow2Header header, Qcow2Limits limits, CancellationToken cancellationToken)
    {
        long entries = (long)header.RefcountTableClusters << ((int)header.ClusterBits - 3);
        ulong[] present = await BigEndianTable.ReadAsync(storage, header.RefcountTableOffset, entries, cancellationToken).ConfigureAwait(false);
        if (present.Length < entries)
        {
            throw new Qcow2FormatException(
                Faults.Of(FaultCode.HeaderRefcountTable, "refcount table", "entries up to the file's end", header.RefcountTableOffset, (ulong)present.Length, $"{entries}, as the header says"), storage.Name);
        }

        for (int i = 0; i < present.Length; i++)
        {
            if (new RefcountTableEntry(present[i]).Check((int)header.ClusterBits) is not FaultCode.None and FaultCode fault)
            {
                throw new Qcow2FormatException(
                    Faults.OfHex(fault, "refcount table", $"entry {i}", header.RefcountTableOffset + ((ulong)i * ImageGeometry.TableEntryBytes), present[i], "an offset that is aligned to a cluster, or 0; 'check -r all' repairs this"), storage.Name);
            }
        }

        return new RefcountEditor(storage, header, limits, present);
    }

    /// <summary>Reads the count of a cluster, as it is to be.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<ulong> ReadAsync(long cluster, CancellationToken cancellationToken)
    {
        long block = cluster / _geometry.RefcountsPerBlock;
        return HasBlock(block)
            ? RefcountBlock.Read(await BytesOfAsync(block, cancellationToken).ConfigureAwait(false), (int)(cluster % _geometry.RefcountsPerBlock), _geometry.RefcountOrder)
            : 0;
    }

    /// <summary>Sets the count of a cluster, in memory. The block that counts it must exist.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask SetAsync(long cluster, ulong count, CancellationToken cancellationToken)
    {
        RefcountBlockEdit block = await EditAsync(cluster / _geometry.RefcountsPerBlock, cancellationToken).ConfigureAwait(false);
        Set(block, (int)(cluster % _geometry.RefcountsPerBlock), count);
    }

    /// <summary>Whether a block counts the clusters of its range; without one all counts there are zero.</summary>
    public bool HasBlock(long block) => block < _table.Length && _table[block] != 0;

    /// <summary>Finds the last cluster that is counted; -1 without one.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<long> FindLastCountedAsync(CancellationToken cancellationToken)
    {
        for (long block = _table.Length - 1; block >= 0; block--)
        {
            if (!HasBlock(block))
            {
                continue;
            }

            byte[] bytes = await BytesOfAsync(block, cancellationToken).ConfigureAwait(false);
            for (int i = _geometry.RefcountsPerBlock - 1; i >= 0; i--)
            {
                if (RefcountBlock.Read(bytes, i, _geometry.RefcountOrder) != 0)
                {
                    return (block * _geometry.RefcountsPerBlock) + i;
                }
            }
        }

        return -1;
    }

    private void Set(RefcountBlockEdit block, int index, ulong count)
    {
        RefcountBlock.Write(block.Bytes, index, _geometry.RefcountOrder, count);
        long firstBit = (long)index << _geometry.RefcountOrder;
        block.Touch((int)(firstBit >> 3), (int)((firstBit + _geometry.RefcountBits - 1) >> 3));
    }

    private async ValueTask<RefcountBlockEdit> EditAsync(long block, CancellationToken cancellationToken)
    {
        if (!_edits.TryGetValue(block, out RefcountBlockEdit? edit))
        {
            byte[] bytes = await BytesOfAsync(block, cancellationToken).ConfigureAwait(false);
            _edits[block] = edit = RefcountBlockEdit.OfExisting((long)_table[block], bytes);
        }

        return edit;
    }

    private async ValueTask<byte[]> BytesOfAsync(long block, CancellationToken cancellationToken)
    {
        if (_edits.TryGetValue(block, out RefcountBlockEdit? edit))
        {
            return edit.Bytes;
        }

        ref (long Index, byte[] Bytes) slot = ref _cache[block % _cache.Length];
        if (slot.Index == block)
        {
            return slot.Bytes;
        }

        byte[] bytes = slot.Bytes.Length > 0 ? slot.Bytes : new byte[_geometry.ClusterSizeBytes];
        slot = (-1, bytes);
        await StoredRefcountBlock.ReadAsync(_storage, _header, block, _table[block], bytes, cancellationToken).ConfigureAwait(false);
        _cache[block % _cache.Length] = (block, bytes);
        return bytes;
    }
}
