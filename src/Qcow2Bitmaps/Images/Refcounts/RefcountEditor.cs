using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>Reads, allocates and frees the clusters of one image. Changes stay in memory until they are written, in an order that survives
/// a stop at any byte.</summary>
/// <remarks>
/// One round: allocate clusters and write data to them, <see cref="PublishAsync"/>, switch the image to the new clusters,
/// <see cref="ReleaseAsync"/>; then <see cref="Restart"/> begins another round. Counts rise before anything refers to a cluster and fall
/// when nothing refers to it any more, so that an interruption leaves leaked clusters at worst. Not thread-safe.
/// </remarks>
internal sealed partial class RefcountEditor
{
    private readonly ImageStorage _storage;
    private readonly Qcow2Limits _limits;
    private readonly ImageGeometry _geometry;
    private readonly Dictionary<long, RefcountBlockEdit> _edits = [];
    private long _originalLength;

    public RefcountEditor(ImageStorage storage, Qcow2Limits limits, WritableCounts counts)
    {
        _storage = storage;
        _limits = limits;
        _geometry = counts.Stored.Header.Geometry;
        _originalLength = storage.Length;
        Stored = counts.Stored;
        Live = counts.Live;
        _search = new ClusterSearch(storage, _geometry, ClusterSpace.SearchStartOf(Stored.Table, _geometry));
        _isOneFree = IsOneFreeAsync;
        _isFreeInRun = IsFreeInRunAsync;
    }

    /// <summary>The counts as written; but the table includes changes.</summary>
    public RefcountReader Stored { get; }

    /// <summary>The structures that must not be allocated, whatever their counts.</summary>
    public LiveMetadata Live { get; }

    /// <summary>Whether any count differs, or will differ, from what is written.</summary>
    public bool HasChanges => _edits.Count > 0 || _freed.Count > 0 || _isTableMoved;

    /// <summary>Whether clusters wait to become free.</summary>
    public bool HasFreed => _freed.Count > 0;

    /// <summary>How much memory changed counts take, in bytes.</summary>
    public long EditedBytes => _geometry.BytesOfClusters(2L * _edits.Count);

    /// <summary>Reads the new count of a cluster.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<ulong> ReadAsync(HostCluster cluster, CancellationToken cancellationToken)
    {
        long block = _geometry.RefcountBlockOf(cluster);
        if (!Stored.HasBlock(block))
        {
            return 0;
        }

        byte[] bytes = await BytesOfAsync(block, cancellationToken).ConfigureAwait(false);
        return RefcountBlock.Read(bytes, _geometry.RefcountIndexOf(cluster), _geometry.RefcountOrder);
    }

    /// <summary>Sets the count of a cluster, in memory. The block that counts it must exist.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask SetAsync(HostCluster cluster, ulong count, CancellationToken cancellationToken)
    {
        RefcountBlockEdit block = await EditAsync(_geometry.RefcountBlockOf(cluster), cancellationToken).ConfigureAwait(false);
        Set(block, _geometry.RefcountIndexOf(cluster), count);
    }

    /// <summary>Removes one count of a cluster that was allocated in this or an earlier round and that nothing ever referred to.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask GiveBackAsync(HostCluster cluster, CancellationToken cancellationToken)
    {
        ulong count = await ReadAsync(cluster, cancellationToken).ConfigureAwait(false);
        await SetAsync(cluster, count - 1, cancellationToken).ConfigureAwait(false);
        if (count == 1)
        {
            _search.Include(cluster);
        }
    }

    /// <summary>Begins another round, when all of the last one is written.</summary>
    /// <param name="header">The current header, which refers to a new table if the table has moved.</param>
    public void Restart(Qcow2Header header)
    {
        foreach ((long block, RefcountBlockEdit edit) in _edits)
        {
            Stored.Keep(block, edit.Bytes);
        }

        if (_isTableMoved)
        {
            Live.MoveRefcountTable(Stored.Header, header);
        }

        foreach (HostCluster cluster in NewBlockClusters)
        {
            Live.AddRefcountBlock(_geometry.OffsetOf(cluster));
        }

        Stored.Header = header;
        _edits.Clear();
        _allocated.Clear();
        _newBlocks.Clear();
        _linked.Clear();
        _isTableMoved = false;
        _search.Restart();
        _originalLength = _storage.Length;
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
            _edits[block] = edit = RefcountBlockEdit.OfExisting(Stored.OffsetOf(block), bytes);
        }

        return edit;
    }

    private ValueTask<byte[]> BytesOfAsync(long block, CancellationToken cancellationToken) =>
        _edits.TryGetValue(block, out RefcountBlockEdit? edit)
            ? ValueTask.FromResult(edit.Bytes)
            : Stored.FindBlockAsync(block, cancellationToken);
}
