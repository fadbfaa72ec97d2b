using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>The reference counts as an image stores them. Not thread-safe.</summary>
internal sealed class RefcountReader
{
    private const int BufferBytes = 1 << 20;
    private const int CacheBytes = 8 << 20;

    private readonly ImageStorage _storage;
    private readonly ImageGeometry _geometry;
    private readonly bool _isStrict;
    private readonly (long Index, byte[] Bytes)[] _cache;
    private byte[] _buffer = [];
    // The blocks that the buffer holds.
    private long _firstBuffered;
    private long _endBuffered;

    private RefcountReader(ImageStorage storage, Qcow2Header header, ulong[] table, bool isStrict)
    {
        _storage = storage;
        _geometry = header.Geometry;
        _isStrict = isStrict;
        Header = header;
        Table = table;
        _cache = new (long, byte[])[Math.Max(2, CacheBytes >> _geometry.ClusterBits)];
        Array.Fill(_cache, (-1, []));
    }

    /// <summary>The header, which says where the table is.</summary>
    public Qcow2Header Header { get; set; }

    /// <summary>The part of the refcount table that the file contains.</summary>
    public ulong[] Table { get; set; }

    /// <summary>Opens the counts of an image that may be damaged.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<RefcountReader> OpenAsync(
        ImageStorage storage, Qcow2Header header, CancellationToken cancellationToken) =>
        new(storage, header, await ReadTableAsync(storage, header, cancellationToken).ConfigureAwait(false), isStrict: false);

    /// <summary>Opens counts that must be reliable. A block that does not lie in the file is refused when it is read.</summary>
    /// <exception cref="Qcow2FormatException">The table has an invalid entry, or does not lie in the file.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<RefcountReader> OpenStrictAsync(
        ImageStorage storage, Qcow2Header header, CancellationToken cancellationToken)
    {
        ulong[] table = await ReadTableAsync(storage, header, cancellationToken).ConfigureAwait(false);
        if (table.Length < EntriesOf(header))
        {
            throw new Qcow2FormatException(
                Faults.Of(
                    FaultCode.HeaderRefcountTable, "refcount table", "entries up to the file's end", header.RefcountTableOffset,
                    table.Length, $"{EntriesOf(header)}, as the header says"),
                storage.Name);
        }

        for (int i = 0; i < table.Length; i++)
        {
            if (new RefcountTableEntry(table[i]).Check((int)header.ClusterBits) is not FaultCode.None and FaultCode fault)
            {
                throw new Qcow2FormatException(
                    Faults.OfHex(
                        fault, "refcount table", $"entry {i}", EntryOffset(header, i), table[i],
                        "an offset that is aligned to a cluster, or 0").Repairable,
                    storage.Name);
            }
        }

        return new RefcountReader(storage, header, table, isStrict: true);
    }

    /// <summary>The counts of the same image by another table.</summary>
    public RefcountReader WithTable(ulong[] table) => new(_storage, Header, table, _isStrict);

    /// <summary>Whether the table refers to a block; without one its counts are zero.</summary>
    public bool HasBlock(long block) => block < Table.Length && Entry(block).BlockOffset != 0;

    /// <summary>Whether the block's offset is valid; if not, its counts are unknown.</summary>
    public bool IsReadable(long block) =>
        Entry(block).BlockOffset <= Faults.MaxOffset && _geometry.IsClusterAligned(Entry(block).BlockOffset);

    /// <summary>The offset of an existing block, in bytes from the start of the file.</summary>
    public long OffsetOf(long block) => (long)Entry(block).BlockOffset;

    /// <summary>Reads an existing, readable block. Most efficient in ascending order: contiguous blocks are read together.</summary>
    /// <returns>The block, valid until the next read; the caller may change it, and must write it then.</returns>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<Memory<byte>> ReadBlockAsync(long block, CancellationToken cancellationToken)
    {
        if (block < _firstBuffered || block >= _endBuffered)
        {
            if (_buffer.Length == 0)
            {
                _buffer = new byte[Math.Max(Math.Min(BufferBytes, _geometry.BytesOfClusters(Table.Length)), _geometry.ClusterSizeBytes)];
            }

            long end = block + 1;
            int most = _buffer.Length >> _geometry.ClusterBits;
            while (end < Table.Length && end - block < most && Table[end] == Table[end - 1] + (ulong)_geometry.ClusterSizeBytes)
            {
                end++;
            }

            // If the read fails, the buffer is invalid.
            (_firstBuffered, _endBuffered) = (0, 0);
            Memory<byte> blocks = _buffer.AsMemory(0, (int)(end - block) << _geometry.ClusterBits);
            await ReadDataAsync(OffsetOf(block), blocks, cancellationToken).ConfigureAwait(false);
            (_firstBuffered, _endBuffered) = (block, end);
        }

        return _buffer.AsMemory((int)(block - _firstBuffered) << _geometry.ClusterBits, _geometry.ClusterSizeBytes);
    }

    /// <summary>Reads an existing block, in any order, or takes it from the cache.</summary>
    /// <returns>The block, valid until the next reading. Not to be changed.</returns>
    /// <exception cref="Qcow2FormatException">The block does not lie in the file.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<byte[]> FindBlockAsync(long block, CancellationToken cancellationToken)
    {
        ref (long Index, byte[] Bytes) slot = ref _cache[block % _cache.Length];
        if (slot.Index == block)
        {
            return slot.Bytes;
        }

        byte[] bytes = slot.Bytes.Length > 0 ? slot.Bytes : new byte[_geometry.ClusterSizeBytes];
        slot = (-1, bytes);
        await FillAsync(block, Entry(block).BlockOffset, bytes, cancellationToken).ConfigureAwait(false);
        _cache[block % _cache.Length] = (block, bytes);
        return bytes;
    }

    /// <summary>Caches a block that was changed and written.</summary>
    public void Keep(long block, byte[] bytes) => _cache[block % _cache.Length] = (block, bytes);

    /// <summary>Fills a buffer with a block; zeros where the file ends within it.</summary>
    /// <exception cref="Qcow2FormatException">The block does not lie in the file.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask FillAsync(long block, ulong offset, byte[] bytes, CancellationToken cancellationToken)
    {
        int read = offset <= Faults.MaxOffset - (ulong)bytes.Length
            ? await _storage.ReadZeroFilledAsync((long)offset, bytes, cancellationToken).ConfigureAwait(false)
            : 0;
        if (read == 0 && _isStrict)
        {
            throw new Qcow2FormatException(
                Faults.OfHex(
                    FaultCode.RefcountBlockTruncated, "refcount table", $"entry {block}", EntryOffset(Header, block), offset,
                    "an offset inside the file").Repairable,
                _storage.Name);
        }
    }

    /// <summary>Reads one count; null if the block's offset is invalid.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<ulong?> ReadCountAsync(HostCluster cluster, CancellationToken cancellationToken)
    {
        long block = _geometry.RefcountBlockOf(cluster);
        if (!HasBlock(block))
        {
            return 0;
        }

        if (!IsReadable(block))
        {
            return null;
        }

        int index = _geometry.RefcountIndexOf(cluster);
        var word = new byte[sizeof(ulong)];
        int perWord = 64 >> _geometry.RefcountOrder;
        long offset = OffsetOf(block) + (index / perWord * sizeof(ulong));
        await _storage.ReadZeroFilledAsync(offset, word, cancellationToken).ConfigureAwait(false);
        return RefcountBlock.Read(word, index % perWord, _geometry.RefcountOrder);
    }

    /// <summary>Finds the last cluster that is counted; number -1 without one.</summary>
    /// <exception cref="Qcow2FormatException">A block does not lie in the file.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<HostCluster> FindLastCountedAsync(CancellationToken cancellationToken)
    {
        // Entries of a broken table may all name one block.
        var empty = new HashSet<long>();
        for (long block = Table.Length - 1; block >= 0; block--)
        {
            if (!HasBlock(block) || !IsReadable(block) || empty.Contains(OffsetOf(block)))
            {
                continue;
            }

            byte[] counts = await FindBlockAsync(block, cancellationToken).ConfigureAwait(false);
            if (RefcountBlock.FindLastUsed(counts, _geometry.RefcountOrder) is >= 0 and int index)
            {
                return _geometry.ClusterOfRefcount(block, index);
            }

            empty.Add(OffsetOf(block));
        }

        return new HostCluster(-1);
    }

    /// <summary>Whether the counts are reliable and the file contains all counted clusters, the last one perhaps partly.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<bool> IsInsideFileAsync(
        ImageStorage storage, Qcow2Header header, Qcow2Limits limits, CancellationToken cancellationToken)
    {
        // Only a lenient reader has an image with a longer table open.
        if (header.IncompatibleFeatures.HasFlag(IncompatibleFeatures.Dirty) || header.RefcountTableBytes > limits.MaxRefcountTableBytes)
        {
            return false;
        }

        RefcountReader reader = await OpenAsync(storage, header, cancellationToken).ConfigureAwait(false);
        long length = storage.Length;
        for (int block = 0; block < reader.Table.Length; block++)
        {
            if (reader.HasBlock(block) && !(reader.IsReadable(block) && reader.OffsetOf(block) < length))
            {
                return false;
            }
        }

        return reader.Table.Length == EntriesOf(header)
            && (await reader.FindLastCountedAsync(cancellationToken).ConfigureAwait(false)).Number < reader._geometry.ClustersFor(length);
    }

    /// <summary>Finds the end of the last counted cluster, in bytes: QEMU's image end offset.</summary>
    /// <exception cref="Qcow2FormatException">Only a lenient reader accepts the header.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<long> FindEndAsync(
        ImageStorage storage, Qcow2Header header, Qcow2Limits limits, CancellationToken cancellationToken)
    {
        if (header.Check(limits) is { } fault)
        {
            throw new Qcow2FormatException(fault, storage.Name);
        }

        RefcountReader reader = await OpenAsync(storage, header, cancellationToken).ConfigureAwait(false);
        HostCluster last = await reader.FindLastCountedAsync(cancellationToken).ConfigureAwait(false);
        return reader._geometry.OffsetOf(last + 1).Bytes;
    }

    private static long EntriesOf(Qcow2Header header) => header.RefcountTableBytes / ImageGeometry.TableEntryBytes;

    private static ulong EntryOffset(Qcow2Header header, long block) => ImageGeometry.EntryOffset(header.RefcountTableOffset, block);

    private static ValueTask<ulong[]> ReadTableAsync(ImageStorage storage, Qcow2Header header, CancellationToken cancellationToken) =>
        BigEndianTable.ReadAsync(storage, header.RefcountTableOffset, EntriesOf(header), cancellationToken);

    private RefcountTableEntry Entry(long block) => new(Table[block]);

    /// <summary>Reads a range without its holes; blocks of sparse files often are holes.</summary>
    private async ValueTask ReadDataAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
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
