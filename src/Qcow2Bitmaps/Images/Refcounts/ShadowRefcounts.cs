using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>Shadow reference counts: changed blocks and the table are written to free clusters, and the header switches to them together
/// with everything else that changes.</summary>
/// <remarks>
/// So counts change atomically with what they count, by one sector write, and an interruption anywhere leaves an image with correct counts.
/// Freed clusters become free at the switch; until then they are not allocated again. Takes bounded memory, whatever changes. Single use:
/// change, <see cref="WriteAsync"/>, switch, <see cref="ReleaseAsync"/>. Not thread-safe.
/// </remarks>
internal sealed partial class ShadowRefcounts
{
    private const int CacheBytes = 64 << 20;
    private const int MinCachedBlocks = 16;

    private readonly ImageStorage _storage;
    private readonly Qcow2Limits _limits;
    private readonly ImageGeometry _geometry;
    private readonly LiveMetadata _live;
    private readonly RefcountReader _stored;
    private readonly ulong _maxCount;
    private readonly Dictionary<long, ShadowBlock> _blocks = [];
    private readonly Queue<ShadowBlock> _byAge = new();
    private readonly int _cachedBlocks;
    private readonly long _originalLength;
    // Changed blocks: those without a new cluster yet, and the clusters of old ones, which are free after the switch.
    private readonly HashSet<long> _unplaced = [];
    private readonly HashSet<long> _changed = [];
    private readonly Queue<long> _replaced = new();
    private ulong[] _table;
    private ShadowBlock? _last;

    private ShadowRefcounts(ImageStorage storage, Qcow2Limits limits, WritableCounts counts, bool searchesAll)
    {
        _storage = storage;
        _limits = limits;
        _stored = counts.Stored;
        _live = counts.Live;
        _geometry = _stored.Header.Geometry;
        _table = [.. _stored.Table];
        _maxCount = RefcountBlock.MaxCount(_geometry.RefcountOrder);
        _originalLength = storage.Length;
        _cachedBlocks = Math.Max(MinCachedBlocks, CacheBytes >> _geometry.ClusterBits);
        _search = new ClusterSearch(storage, _geometry, searchesAll ? default : ClusterSpace.SearchStartOf(_table, _geometry));
    }

    /// <summary>Whether any count will change.</summary>
    public bool HasChanges => _changed.Count > 0;

    /// <summary>Begins a change of an image that may be written.</summary>
    /// <param name="storage">The image.</param>
    /// <param name="contents">The image's contents.</param>
    /// <param name="limits">The limits to apply.</param>
    /// <param name="searchesAll">Whether to search for free clusters from the start of the file, so that it can be truncated; otherwise the
    /// search starts near the end of a large image.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="Qcow2UnsupportedException">The image is open for reading only.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt, or its refcounts cannot be relied on.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<ShadowRefcounts> BeginAsync(
        ImageStorage storage, ImageContents contents, Qcow2Limits limits, bool searchesAll, CancellationToken cancellationToken) =>
        new(
            storage,
            limits,
            await WritableCounts.OpenAsync(storage, contents, limits, cancellationToken).ConfigureAwait(false),
            searchesAll);

    /// <summary>Reads the new count of a cluster.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<ulong> ReadAsync(HostCluster cluster, CancellationToken cancellationToken)
    {
        long index = _geometry.RefcountBlockOf(cluster);
        if (!HasBlock(index))
        {
            return 0;
        }

        ShadowBlock block = _last?.Index == index ? _last : await LoadAsync(index, cancellationToken).ConfigureAwait(false);
        return RefcountBlock.Read(block.Bytes, _geometry.RefcountIndexOf(cluster), _geometry.RefcountOrder);
    }

    /// <summary>Adds to, or subtracts from, the counts of contiguous clusters, all of which are in use.</summary>
    /// <param name="first">The first one's number.</param>
    /// <param name="clusters">How many.</param>
    /// <param name="times">How many references are added; negative for removed ones.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <exception cref="Qcow2UnsupportedException">A count does not fit the width of the image's counts.</exception>
    /// <exception cref="Qcow2FormatException">A count is lower than the cluster's uses.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask AddAsync(HostCluster first, long clusters, long times, CancellationToken cancellationToken)
    {
        HostCluster end = first + clusters;
        while (first < end)
        {
            long index = _geometry.RefcountBlockOf(first);
            if (!HasBlock(index))
            {
                throw TooLow(first, 0);
            }

            ShadowBlock block = _last?.Index == index ? _last : await LoadAsync(index, cancellationToken).ConfigureAwait(false);
            Change(block);
            int from = _geometry.RefcountIndexOf(first);
            int count = (int)Math.Min(_geometry.RefcountsPerBlock - from, end - first);
            AddInBlock(block, from, from + count, times);
            first += count;
        }
    }

    private void AddInBlock(ShadowBlock block, int from, int to, long times)
    {
        bool isRise = times > 0;
        ulong change = (ulong)Math.Abs(times);
        for (int i = from; i < to; i++)
        {
            bool isWide = _geometry.RefcountOrder == 4;
            ulong count = isWide
                ? BinaryPrimitives.ReadUInt16BigEndian(block.Bytes.AsSpan(2 * i))
                : RefcountBlock.Read(block.Bytes, i, _geometry.RefcountOrder);
            if (isRise ? count == 0 : count < change)
            {
                throw TooLow(_geometry.ClusterOfRefcount(block.Index, i), count);
            }

            if (isRise && count > _maxCount - change)
            {
                long offset = _geometry.OffsetOf(_geometry.ClusterOfRefcount(block.Index, i)).Bytes;
                throw new Qcow2UnsupportedException(
                    UnsupportedReason.RefcountWidth,
                    $"'{_storage.Name}': the cluster at 0x{offset:x} is in use {count} times; "
                    + $"its count has {_geometry.RefcountBits} bits and cannot rise by {change}");
            }

            count = isRise ? count + change : count - change;
            if (isWide)
            {
                BinaryPrimitives.WriteUInt16BigEndian(block.Bytes.AsSpan(2 * i), (ushort)count);
            }
            else
            {
                RefcountBlock.Write(block.Bytes, i, _geometry.RefcountOrder, count);
            }
        }
    }

    /// <summary>Frees a contiguous structure in its own clusters, which is no longer referred to.</summary>
    public ValueTask FreeAsync(ulong offset, long bytes, CancellationToken cancellationToken) =>
        AddAsync(_geometry.ClusterAt(offset), _geometry.ClustersFor(bytes), -1, cancellationToken);

    private bool HasBlock(long block) => block < _table.Length && (_table[block] != 0 || _unplaced.Contains(block));

    /// <summary>Marks a block as changed: it gets a new cluster, and leaves its old one.</summary>
    private void Change(ShadowBlock block)
    {
        block.IsChanged = true;
        if (_changed.Add(block.Index))
        {
            if (_table[block.Index] != 0)
            {
                _replaced.Enqueue(block.Index);
            }

            _unplaced.Add(block.Index);
        }
    }

    private ShadowBlock AddBlock(long index)
    {
        if (index >= _table.Length)
        {
            _table = ClusterSpace.Grow(_table, index + 1, _geometry, _limits, _storage.Name);
        }

        var block = new ShadowBlock(index, new byte[_geometry.ClusterSizeBytes]);
        Change(block);
        Keep(block);
        return block;
    }

    private async ValueTask<ShadowBlock> LoadAsync(long index, CancellationToken cancellationToken)
    {
        if (!_blocks.TryGetValue(index, out ShadowBlock? block))
        {
            var bytes = new byte[_geometry.ClusterSizeBytes];
            await _stored.FillAsync(index, _table[index], bytes, cancellationToken).ConfigureAwait(false);
            block = new ShadowBlock(index, bytes);
            Keep(block);
        }

        block.WasUsed = true;
        _last = block;
        return block;
    }

    private void Keep(ShadowBlock block)
    {
        _blocks.Add(block.Index, block);
        _byAge.Enqueue(block);
    }

    /// <summary>Drops blocks from memory until few enough are left; changed ones are written to their new clusters.</summary>
    /// <exception cref="NoSpaceException">The storage cannot grow and has no room.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask TrimAsync(CancellationToken cancellationToken)
    {
        while (_blocks.Count > _cachedBlocks)
        {
            ShadowBlock block = _byAge.Dequeue();
            if (block.WasUsed)
            {
                block.WasUsed = false;
                _byAge.Enqueue(block);
                continue;
            }

            if (block.IsChanged)
            {
                // Placing it changes another block, or this one.
                await PlaceAsync(block.Index, cancellationToken).ConfigureAwait(false);
                await WriteBlockAsync(block, cancellationToken).ConfigureAwait(false);
            }

            _blocks.Remove(block.Index);
            _last = null;
        }
    }

    private async ValueTask WriteBlockAsync(ShadowBlock block, CancellationToken cancellationToken)
    {
        await _storage.WriteAsync((long)_table[block.Index], block.Bytes, cancellationToken).ConfigureAwait(false);
        block.IsChanged = false;
    }

    private Qcow2FormatException TooLow(HostCluster cluster, ulong count) => new(
        Faults.Of(
            FaultCode.RefcountTooLow, "cluster", "reference count", _geometry.OffsetOf(cluster).Raw, count,
            "as many as the cluster's uses, which are more").Repairable,
        _storage.Name);
}
