using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>The reference counts as the image stores them.</summary>
internal sealed class StoredRefcounts
{
    private const int BufferBytes = 1 << 20;

    private readonly ImageStorage _storage;
    private readonly ImageGeometry _geometry;
    private readonly byte[] _buffer;
    // The blocks that the buffer holds.
    private long _firstBuffered;
    private long _endBuffered;

    private StoredRefcounts(ImageStorage storage, ImageGeometry geometry, ulong[] table)
    {
        _storage = storage;
        _geometry = geometry;
        Table = table;
        _buffer = new byte[Math.Max(Math.Min(BufferBytes, (long)table.Length << geometry.ClusterBits), geometry.ClusterSizeBytes)];
    }

    /// <summary>The refcount table as far as the file has it.</summary>
    public ulong[] Table { get; }

    public static async ValueTask<StoredRefcounts> OpenAsync(ImageStorage storage, Qcow2Header header, CancellationToken cancellationToken)
    {
        long entries = (long)header.RefcountTableClusters << ((int)header.ClusterBits - 3);
        ulong[] table = await BigEndianTable.ReadAsync(storage, header.RefcountTableOffset, entries, cancellationToken).ConfigureAwait(false);
        return new StoredRefcounts(storage, header.Geometry, table);
    }

    /// <summary>Whether a block is named; without one its counts are zero.</summary>
    public bool HasBlock(long block) => block < Table.Length && Entry(block).BlockOffset != 0;

    /// <summary>Whether a block can be where the table says; if not, nobody knows its counts.</summary>
    public bool IsReadable(long block) => Entry(block).BlockOffset <= Faults.MaxOffset && _geometry.IsClusterAligned(Entry(block).BlockOffset);

    /// <summary>Reads a block that is named and readable. Best asked for in their order: blocks that follow one another in the file are read together.</summary>
    /// <returns>The block, valid until the next reading; it may be changed, and has to be written then.</returns>
    public async ValueTask<Memory<byte>> ReadBlockAsync(long block, CancellationToken cancellationToken)
    {
        if (block < _firstBuffered || block >= _endBuffered)
        {
            long end = block + 1;
            int most = _buffer.Length >> _geometry.ClusterBits;
            while (end < Table.Length && end - block < most && Table[end] == Table[end - 1] + (ulong)_geometry.ClusterSizeBytes)
            {
                end++;
            }

            // Nothing is buffered should the reading fail.
            (_firstBuffered, _endBuffered) = (0, 0);
            await ReadAsync((long)Entry(block).BlockOffset, _buffer.AsMemory(0, (int)(end - block) << _geometry.ClusterBits), cancellationToken).ConfigureAwait(false);
            (_firstBuffered, _endBuffered) = (block, end);
        }

        return _buffer.AsMemory((int)(block - _firstBuffered) << _geometry.ClusterBits, _geometry.ClusterSizeBytes);
    }

    /// <summary>Reads one count; null when the block cannot be where the table says.</summary>
    public async ValueTask<ulong?> ReadCountAsync(long cluster, CancellationToken cancellationToken)
    {
        long block = cluster / _geometry.RefcountsPerBlock;
        if (!HasBlock(block))
        {
            return 0;
        }

        if (!IsReadable(block))
        {
            return null;
        }

        int index = (int)(cluster % _geometry.RefcountsPerBlock);
        var word = new byte[sizeof(ulong)];
        int perWord = 64 >> _geometry.RefcountOrder;
        await _storage.ReadZeroFilledAsync((long)Entry(block).BlockOffset + (index / perWord * sizeof(ulong)), word, cancellationToken).ConfigureAwait(false);
        return RefcountBlock.Read(word, index % perWord, _geometry.RefcountOrder);
    }

    /// <summary>Where a block stands that is named, in bytes from the start of the file.</summary>
    public long OffsetOf(long block) => (long)Entry(block).BlockOffset;

    private RefcountTableEntry Entry(long block) => new(Table[block]);

    /// <summary>Reads all of a range that is not a hole; blocks of sparse files often are.</summary>
    private async ValueTask ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        StorageRange? data = await _storage.FindDataAsync(offset, cancellationToken).ConfigureAwait(false);
        if (data is null || data.Value.Offset - offset >= buffer.Length)
        {
            buffer.Span.Clear();
            return;
        }

        await _storage.ReadZeroFilledAsync(offset, buffer, cancellationToken).ConfigureAwait(false);
    }
}
