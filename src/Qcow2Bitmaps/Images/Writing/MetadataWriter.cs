using System.Buffers;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>One change of an image's metadata: new structures go to free clusters, one switch makes them count, then the old ones are
/// freed.</summary>
/// <remarks>Writes clusters that this change has allocated, sectors of refcount blocks, entries of the refcount table (or the header, to
/// name a table that has moved), and sets the file's length. The caller does the switch. Not thread-safe.</remarks>
internal sealed class MetadataWriter
{
    private readonly ImageStorage _storage;
    private readonly ImageGeometry _geometry;
    private readonly LiveMetadata _live;
    private readonly RefcountEditor _refcounts;
    private readonly BitmapClusters _bits;
    private readonly long _endOfFile;

    private MetadataWriter(ImageStorage storage, ImageGeometry geometry, LiveMetadata live, RefcountEditor refcounts, BitmapClusters bits)
    {
        _bits = bits;
        _endOfFile = geometry.ClustersFor(storage.Length);
        _storage = storage;
        _geometry = geometry;
        _live = live;
        _refcounts = refcounts;
    }

    /// <summary>Begins a change.</summary>
    /// <exception cref="Qcow2UnsupportedException">The image is open for reading only.</exception>
    /// <exception cref="Qcow2FormatException">The image is corrupt, or its refcounts cannot be relied on.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<MetadataWriter> BeginAsync(
        ImageStorage storage, ImageContents contents, Qcow2Limits limits, CancellationToken cancellationToken)
    {
        WritableCounts counts = await WritableCounts.OpenAsync(storage, contents, limits, cancellationToken).ConfigureAwait(false);
        ImageGeometry geometry = contents.First.Header.Geometry;
        var bits = new BitmapClusters(storage, geometry, contents.Bitmaps.Bitmaps);
        return new MetadataWriter(storage, geometry, counts.WithoutBitmaps, new RefcountEditor(storage, limits, counts), bits);
    }

    /// <summary>Whether the file ends before the end of the last counted cluster: it may have been truncated, and writing may extend it
    /// over the missing part.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<bool> IsCutShortAsync(CancellationToken cancellationToken)
    {
        HostCluster last = await _refcounts.Stored.FindLastCountedAsync(cancellationToken).ConfigureAwait(false);
        return _storage.Length >> _geometry.ClusterBits <= last.Number;
    }

    /// <summary>Allocates contiguous clusters for a structure.</summary>
    /// <returns>The offset of the first of its clusters.</returns>
    /// <exception cref="NoSpaceException">The storage cannot grow and has no room.</exception>
    /// <exception cref="Qcow2FormatException">A cluster that is free by its count is in use.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<HostOffset> AllocateAsync(long bytes, CancellationToken cancellationToken)
    {
        long clusters = _geometry.ClustersFor(bytes);
        HostCluster first = await _refcounts.AllocateAsync(clusters, cancellationToken).ConfigureAwait(false);
        await RequireNoBitsAsync(first, clusters, cancellationToken).ConfigureAwait(false);
        return _geometry.OffsetOf(first);
    }

    /// <summary>Writes a structure to clusters that were allocated for it.</summary>
    /// <exception cref="InvalidOperationException">The bytes do not lie in clusters of this change.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public ValueTask WriteAsync(HostOffset offset, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        RequireAllocated(offset, bytes.Length);
        return WholeClusters.WriteAsync(_storage, _geometry, offset, bytes, cancellationToken);
    }

    /// <summary>Starts writing to allocated clusters; the write runs concurrently with the caller.</summary>
    /// <param name="offset">Where to write.</param>
    /// <param name="bytes">The bytes to write; they must not change until they are written, and are disposed then.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="InvalidOperationException">The bytes do not lie in clusters of this change.</exception>
    public Task BeginWrite(HostOffset offset, IMemoryOwner<byte> bytes, CancellationToken cancellationToken)
    {
        RequireAllocated(offset, bytes.Memory.Length);
        return Task.Run(
            async () =>
            {
                using (bytes)
                {
                    await _storage.WriteAsync(offset.Bytes, bytes.Memory, cancellationToken).ConfigureAwait(false);
                    await _storage.BeginWriteBackAsync(offset.Bytes, bytes.Memory.Length, cancellationToken).ConfigureAwait(false);
                }
            },
            cancellationToken);
    }

    /// <summary>Whether the header refers, or may refer, to a new refcount table.</summary>
    public bool HasMovedRefcountTable => _refcounts.HasMovedTable;

    /// <summary>Marks a structure as unused after the switch.</summary>
    public void Free(ulong offset, long bytes) => _refcounts.Free(offset, bytes);

    /// <summary>Like <see cref="Free"/>, for a structure that is protected while it is in use. Call it only after all
    /// allocations.</summary>
    public void FreeLive(ulong offset, long bytes)
    {
        _live.Remove(offset);
        Free(offset, bytes);
    }

    /// <summary>Makes all that was allocated and written durable.</summary>
    /// <exception cref="Qcow2FormatException">A cluster that is free by its count, and was taken for a refcount block, is in
    /// use.</exception>
    /// <exception cref="IOException">The storage failed; the image is unchanged.</exception>
    public async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        foreach (HostCluster cluster in _refcounts.NewBlockClusters)
        {
            await RequireNoBitsAsync(cluster, 1, cancellationToken).ConfigureAwait(false);
        }

        await _refcounts.PublishAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Frees what is no longer used.</summary>
    /// <param name="addBitmaps">Adds the bitmap structures now in use.</param>
    /// <param name="cancellationToken">Ends the work; what is not freed by then is leaked.</param>
    /// <exception cref="IOException">The storage failed; what is not freed by then is leaked.</exception>
    public ValueTask ReleaseAsync(Action<LiveMetadata> addBitmaps, CancellationToken cancellationToken)
    {
        LiveMetadata live = _live.Copy();
        addBitmaps(live);
        foreach (ClusterRange range in _refcounts.Allocated)
        {
            live.Add("a new structure", _geometry.OffsetOf(range.First).Raw, range.Count << _geometry.ClusterBits);
        }

        return _refcounts.ReleaseAsync(live, cancellationToken);
    }

    /// <summary>Undoes all allocations, as far as the storage still works. Only before the switch.</summary>
    /// <exception cref="IOException">The storage failed; what was allocated is leaked.</exception>
    public ValueTask RollBackAsync(CancellationToken cancellationToken) => _refcounts.RollBackAsync(cancellationToken);

    /// <summary>Throws if a write would overwrite bitmap data whose count is wrong. Space past the end of the file held no data: then no
    /// table is read.</summary>
    private async ValueTask RequireNoBitsAsync(HostCluster first, long clusters, CancellationToken cancellationToken)
    {
        if (first.Number < _endOfFile && await _bits.FindAsync(first, clusters, cancellationToken).ConfigureAwait(false) is { } cluster)
        {
            throw ClusterSpace.InUse("bits of a bitmap", _geometry.OffsetOf(cluster), _storage.Name);
        }
    }

    private void RequireAllocated(HostOffset offset, int length)
    {
        HostCluster first = _geometry.ClusterAt(offset);
        HostCluster last = _geometry.ClusterAt(offset + (length - 1));
        for (int i = _refcounts.Allocated.Count - 1; i >= 0; i--)
        {
            ClusterRange range = _refcounts.Allocated[i];
            if (range.First <= first && last < range.End)
            {
                return;
            }
        }

        throw new InvalidOperationException($"Clusters {first.Number} to {last.Number} were not allocated for this change");
    }
}
