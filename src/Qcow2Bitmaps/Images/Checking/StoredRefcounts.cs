using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>The reference counts as the image stores them, read block by block.</summary>
internal sealed class StoredRefcounts
{
    private const int CachedBytes = 16 << 20;

    private readonly ImageStorage _storage;
    private readonly ImageGeometry _geometry;
    private readonly (long Index, byte[] Bytes)[] _cache;

    private StoredRefcounts(ImageStorage storage, ImageGeometry geometry, RefcountTableEntry[] table)
    {
        _storage = storage;
        _geometry = geometry;
        Table = table;
        _cache = new (long, byte[])[Math.Max(4, CachedBytes >> geometry.ClusterBits)];
        Array.Fill(_cache, (-1, []));
    }

    public RefcountTableEntry[] Table { get; }

    public static async ValueTask<StoredRefcounts> OpenAsync(
        ImageStorage storage, Qcow2Header header, CancellationToken cancellationToken)
    {
        long entries = (long)header.RefcountTableClusters << ((int)header.ClusterBits - 3);
        ulong[] table = await BigEndianTable.ReadAsync(storage, header.RefcountTableOffset, entries, cancellationToken).ConfigureAwait(false);
        return new StoredRefcounts(storage, header.Geometry, [.. table.Select(static raw => new RefcountTableEntry(raw))]);
    }

    /// <summary>The table entry whose block counts a cluster.</summary>
    public long BlockOf(long cluster) => cluster / _geometry.RefcountsPerBlock;

    /// <summary>Whether a block is named; without one its counts are zero.</summary>
    public bool HasBlock(long block) => block < Table.Length && Table[block].BlockOffset != 0;

    /// <summary>Reads a count; null when the table's entry cannot be right, so that nobody knows.</summary>
    public async ValueTask<ulong?> ReadAsync(long cluster, CancellationToken cancellationToken)
    {
        long block = BlockOf(cluster);
        if (!HasBlock(block))
        {
            return 0;
        }

        if (Table[block].BlockOffset > Faults.MaxOffset || !_geometry.IsClusterAligned(Table[block].BlockOffset))
        {
            return null;
        }

        int slot = (int)(block % _cache.Length);
        if (_cache[slot].Index != block)
        {
            byte[] bytes = _cache[slot].Bytes.Length > 0 ? _cache[slot].Bytes : new byte[_geometry.ClusterSizeBytes];
            _cache[slot] = (-1, bytes);
            await _storage.ReadZeroFilledAsync((long)Table[block].BlockOffset, bytes, cancellationToken).ConfigureAwait(false);
            _cache[slot] = (block, bytes);
        }

        return RefcountBlock.Read(_cache[slot].Bytes, (int)(cluster % _geometry.RefcountsPerBlock), _geometry.RefcountOrder);
    }
}
