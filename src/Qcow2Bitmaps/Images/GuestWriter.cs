using CommunityToolkit.HighPerformance.Buffers;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Images.Guest;
using Qcow2Bitmaps.Images.Guest.Writing;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Images;

// Decisions: docs/decisions/images-guest.md.
/// <summary>Writes guest data of an image: bytes, zeros, discards, compressed clusters. Also reads.</summary>
/// <remarks>
/// <para>Calls may run concurrently; overlapping writes are serialized, in any order. A read that runs concurrently with an overlapping
/// write may see parts of both.</para>
/// <para>
/// An interruption at any byte leaves an image that opens, with leaked clusters at worst. Flushed data are present; each cluster that was
/// not flushed is in its old or its new state (each sector, where a cluster was written in place). Bytes are written when a call returns;
/// tables and counts are written by <see cref="FlushAsync"/>, by <see cref="DisposeAsync"/>, before any edit of the image, and when they
/// take much memory.
/// </para>
/// <para>
/// Every recording bitmap has its bits for a write on disk before the data: the bitmaps stay valid wherever the writer is interrupted.
/// Setting new bits costs an edit with its flushes; a caller that knows in advance what it will write should call
/// <see cref="MarkAsync(DirtyBitmap, CancellationToken)"/> once.
/// </para>
/// <para>After a storage error while tables were being written, all calls fail; the image is as after an interruption.</para>
/// </remarks>
internal sealed partial class GuestWriter : Disk, IQuiescent
{
    private const int MaxChunkBytes = 8 << 20;

    private readonly ImageHandle _image;
    private readonly GuestDisk _disk;
    private readonly ImageStorage _data;
    // The disk of the image and its backing chain; null if the image was opened alone.
    private readonly Disk? _shown;
    private readonly Disk? _backing;
    private readonly GuestMetadata _metadata;
    private readonly RecordingMarks? _marks;
    private readonly SharedLock _shared = new();
    private readonly RangeLock _ranges = new();
    private readonly SharedLock _tables = new();
    private readonly ClusterPacker _packer;
    private volatile bool _isStale;
    private volatile bool _isClosed;
    private int _disposals;

    private GuestWriter(ImageHandle image, GuestDisk disk, Disk? shown, Disk? backing, bool marksWrites)
    {
        ImageStorage? dataFile = image.Header.HasExternalDataFile ? disk.Data : null;
        _image = image;
        _disk = disk;
        _data = (dataFile ?? image.Storage).GuestData;
        _shown = shown;
        _backing = backing;
        _packer = new ClusterPacker(image.Geometry.ClusterSizeBytes);
        _metadata = new GuestMetadata(image, disk, dataFile, backing is not null);
        _marks = marksWrites ? new RecordingMarks(image) : null;
    }

    /// <inheritdoc/>
    public override string Name => _image.Name;

    /// <inheritdoc/>
    public override long SizeBytes => _image.Geometry.VirtualSizeBytes;

    /// <inheritdoc/>
    public override int ClusterBytes => _image.Geometry.ClusterSizeBytes;

    /// <inheritdoc/>
    public override bool CanWrite => true;

    /// <summary>
    /// Whether <see cref="WriteCompressedAsync"/> is possible: the image's compression is zlib, and it has no external data file.
    /// </summary>
    public override bool CanCompress => _metadata.CanPack;

    /// <summary>The bitmaps of the image.</summary>
    internal BitmapCollection Bitmaps => new(_image);

    /// <summary>An object to dispose with the writer; null for none.</summary>
    internal IAsyncDisposable? Owned { get; set; }

    internal override int SubclusterBytes => _image.Geometry.SubclusterSizeBytes;

    /// <summary>A raw data file by itself must read like the disk, whatever the tables say.</summary>
    internal override bool HoldsZeros => _metadata.HasRawDataFile;

    internal override bool HasBacking => _backing is not null;

    internal override IEnumerable<ImageStorage> Storages => _shown?.Storages ?? [_image.Storage];

    internal override StorageIdentity? FileOf(int depth) =>
        _shown is not null ? _shown.FileOf(depth) : depth == 0 ? _image.Storage.Key : null;

    /// <summary>Opens a writer. An image can have one at a time.</summary>
    /// <param name="image">The image.</param>
    /// <param name="disk">Its tables, and the data file where it has one.</param>
    /// <param name="shown">The disk of the image and the images below it; null if there are none.</param>
    /// <param name="backing">The disk below it, or that it is about to get; null where there is none.</param>
    /// <param name="marksWrites">Whether writes are recorded in recording bitmaps.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    internal static async ValueTask<GuestWriter> OpenAsync(
        ImageHandle image, GuestDisk disk, Disk? shown, Disk? backing, bool marksWrites, CancellationToken cancellationToken)
    {
        if ((EncryptionMethod)image.Header.CryptMethod is var method && method != EncryptionMethod.None)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Encryption,
                $"'{image.Name}' is encrypted ({method}): its guest data are not written; its bitmaps can be");
        }

        using ImageGate.Release alone = await image.EnterAsync(cancellationToken).ConfigureAwait(false);
        if (image.Gate.Writer is not null)
        {
            throw new InvalidOperationException(PrintableMessage.Of($"'{image.Name}' has a writer already"));
        }

        InterruptedEdit.RequireNone(image);
        await CountRepair.RunIfDirtyAsync(image, cancellationToken).ConfigureAwait(false);
        // Throws for an image that cannot be written, before anything is written.
        await WritableCounts.OpenAsync(image.Storage, image.Contents, image.Limits, cancellationToken).ConfigureAwait(false);
        await CountRepair.ClearUnknownBitsAsync(image, cancellationToken).ConfigureAwait(false);
        var writer = new GuestWriter(image, disk, shown, backing, marksWrites);
        await writer._metadata.ReloadAsync(cancellationToken).ConfigureAwait(false);
        disk.Data = writer._data;
        image.Gate.Writer = writer;
        return writer;
    }

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offsetBytes);
        using SharedLock.Release together = await EnterAsync(cancellationToken).ConfigureAwait(false);
        int length = (int)Math.Clamp(SizeBytes - offsetBytes, 0, buffer.Length);
        await ReadOwnAsync(offsetBytes, buffer[..length], cancellationToken).ConfigureAwait(false);
        return length;
    }

    /// <inheritdoc/>
    public override async ValueTask<long> ListAsync(
        long offsetBytes, long endBytes, List<DiskExtent> extents, CancellationToken cancellationToken = default)
    {
        using SharedLock.Release together = await EnterAsync(cancellationToken).ConfigureAwait(false);
        return _shown is null
            ? await _disk.Map.ListAsync(offsetBytes, endBytes, extents, cancellationToken).ConfigureAwait(false)
            : await _shown.ListAsync(offsetBytes, endBytes, extents, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default) =>
        WriteAsync(offsetBytes, bytes, null, cancellationToken);

    /// <summary>Makes a range read as zeros, by changing tables alone where possible.</summary>
    /// <inheritdoc/>
    public override async ValueTask WriteZerosAsync(
        long offsetBytes, long lengthBytes, bool mayUnmap = false, CancellationToken cancellationToken = default)
    {
        using Turn turn = await BeginAsync(offsetBytes, lengthBytes, cancellationToken).ConfigureAwait(false);
        await ZeroOwnAsync(offsetBytes, offsetBytes + lengthBytes, mayUnmap, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Discards a range: clusters entirely inside it read as zeros afterwards; the rest is unchanged, as in QEMU.</summary>
    /// <remarks>
    /// In version 2 with a backing file, nothing is discarded. With a raw data file, the whole range reads as zeros afterwards.
    /// </remarks>
    /// <inheritdoc/>
    public override async ValueTask DiscardAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken = default)
    {
        using Turn turn = await BeginAsync(offsetBytes, lengthBytes, cancellationToken).ConfigureAwait(false);
        int size = _image.Geometry.ClusterSizeBytes;
        long end = offsetBytes + lengthBytes;
        long firstWhole = (offsetBytes + size - 1) & -size;
        long endWhole = end == SizeBytes ? end : end & -size;
        if (!_metadata.CanDiscard || firstWhole >= endWhole)
        {
            return;
        }

        if (_metadata.HasDataFile)
        {
            await DiscardInDataFileAsync(firstWhole, endWhole, cancellationToken).ConfigureAwait(false);
            return;
        }

        await ForEachTableAsync(
            firstWhole, endWhole, (start, to) => _metadata.DiscardAsync(start, to, cancellationToken), cancellationToken,
            onlyExisting: _backing is null).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public override async ValueTask WriteCompressedAsync(
        long offsetBytes, ReadOnlyMemory<byte> cluster, CancellationToken cancellationToken = default)
    {
        if (!_metadata.CanPack)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Compression,
                $"'{_image.Name}': clusters are compressed with zlib only, and not in an external data file");
        }

        using Turn turn = await BeginAsync(offsetBytes, cluster.Length, cancellationToken).ConfigureAwait(false);
        int size = _image.Geometry.ClusterSizeBytes;
        if (offsetBytes % size != 0 || cluster.Length != Math.Min(size, SizeBytes - offsetBytes))
        {
            throw new ArgumentException(
                $"A compressed cluster has {size} bytes, or those up to the disk's end, and starts at a multiple of that; "
                + $"not {cluster.Length} at {offsetBytes}",
                nameof(cluster));
        }

        if (cluster.IsEmpty)
        {
            return;
        }

        using MemoryOwner<byte> packed = MemoryOwner<byte>.Allocate(size);
        if (_packer.TryPack(cluster.Span, packed.Span, out int packedBytes))
        {
            await WritePackedAsync(offsetBytes, packed.Memory[..packedBytes], cancellationToken).ConfigureAwait(false);
        }
        else
        {
            await WriteOwnAsync(offsetBytes, cluster, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Marks ranges in all recording bitmaps, in one atomic edit, so that writing there costs none.</summary>
    /// <param name="ranges">What will be written, of any granularity.</param>
    /// <param name="cancellationToken">Ends the work before anything is changed.</param>
    /// <exception cref="Qcow2Exception">The image has no room for the bits.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public ValueTask MarkAsync(DirtyBitmap ranges, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(ranges);
        return _marks is null ? ValueTask.CompletedTask : _marks.MarkAsync(ranges, cancellationToken);
    }

    /// <inheritdoc/>
    public override async ValueTask FlushAsync(CancellationToken cancellationToken = default)
    {
        using SharedLock.Release together = await EnterAsync(cancellationToken).ConfigureAwait(false);
        await CommitAsync(isAlone: false, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Makes all durable, and closes the writer, also where that fails; the image stays open. Once: later calls do
    /// nothing.</summary>
    /// <exception cref="IOException">The storage failed, and no call has said so before.</exception>
    public override async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposals, 1) != 0)
        {
            return;
        }

        try
        {
            await CloseAsync().ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // What could not be written is lost. The image is as the file has it, and takes another writer.
            _ = await Leftovers.TidyAsync($"'{Name}' cannot be read again after its writer has failed", CloseAsync).ConfigureAwait(false);
            throw;
        }
        finally
        {
            _isClosed = true;
            await base.DisposeAsync().ConfigureAwait(false);
            if (_shown is null)
            {
                // Otherwise the chain has it.
                _disk.Dispose();
            }

            if (Owned is not null)
            {
                await Owned.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    /// <summary>Throws if writing tables has failed: written data may be lost, though later flushes succeed.</summary>
    /// <exception cref="IOException">It has.</exception>
    internal void RequireIntact()
    {
        if (_metadata.Failure is { } failure)
        {
            throw IOException.Of($"'{_image.Name}': nothing more can be written, as writing its tables has failed: {failure}", failure);
        }
    }

    internal override async ValueTask WriteAsync(
        long offsetBytes, ReadOnlyMemory<byte> bytes, BytesOrigin? origin, CancellationToken cancellationToken)
    {
        using Turn turn = await BeginAsync(offsetBytes, bytes.Length, cancellationToken).ConfigureAwait(false);
        await WriteOwnAsync(offsetBytes, bytes, origin, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Discards all data of the image, so that the disk reads like its backing file. No bitmap records that.</summary>
    /// <inheritdoc cref="Disk.WriteAsync(long, ReadOnlyMemory{byte}, CancellationToken)" path="/exception"/>
    internal async ValueTask EmptyAsync(CancellationToken cancellationToken)
    {
        using Turn turn = await BeginAsync(0, SizeBytes, cancellationToken).ConfigureAwait(false);
        await ForEachTableAsync(
            0, SizeBytes, (start, to) => _metadata.ForgetAsync(start, to, cancellationToken), cancellationToken,
            onlyExisting: true).ConfigureAwait(false);
    }

    private async ValueTask CloseAsync()
    {
        using ImageGate.Release alone = await _image.Gate.EnterAsync(CancellationToken.None).ConfigureAwait(false);
        _isClosed = true;
        _image.Gate.Writer = null;
    }

    async ValueTask<IDisposable> IQuiescent.HaltAsync(CancellationToken cancellationToken)
    {
        SharedLock.Release alone = await _shared.EnterAloneAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_metadata.Failure is null)
            {
                await CommitAsync(isAlone: true, CancellationToken.None).ConfigureAwait(false);
            }
            else
            {
                // The change may be partly done: the next user starts from what is in the file.
                await _image.ReloadAsync().ConfigureAwait(false);
            }

            return new Halt(this, alone);
        }
        catch
        {
            alone.Dispose();
            throw;
        }
    }

    /// <summary>Takes shared access, once the cached state of the image is up to date.</summary>
    private async ValueTask<SharedLock.Release> EnterAsync(CancellationToken cancellationToken)
    {
        SharedLock.Release together = await _shared.EnterAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            ObjectDisposedException.ThrowIf(_isClosed, this);
            RequireIntact();
            if (_isStale)
            {
                using SharedLock.Release tables = await _tables.EnterAloneAsync(cancellationToken).ConfigureAwait(false);
                if (_isStale)
                {
                    await _metadata.ReloadAsync(cancellationToken).ConfigureAwait(false);
                    _isStale = false;
                }
            }

            return together;
        }
        catch
        {
            together.Dispose();
            throw;
        }
    }

    /// <summary>Begins a write: enters when its bits are set, and waits for the range.</summary>
    private async ValueTask<Turn> BeginAsync(long offset, long length, CancellationToken cancellationToken)
    {
        while (true)
        {
            SharedLock.Release together = await EnterAsync(cancellationToken).ConfigureAwait(false);
            try
            {
                RequireRange(offset, length);
                if (length == 0 || _marks is null || _marks.Covers(offset, length))
                {
                    int size = _image.Geometry.ClusterSizeBytes;
                    return new Turn(
                        together,
                        await _ranges.EnterAsync(
                            offset & -size, (offset + length + size - 1) & -size, cancellationToken).ConfigureAwait(false));
                }
            }
            catch
            {
                together.Dispose();
                throw;
            }

            together.Dispose();
            await _marks.MarkAsync(offset, length, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask CommitAsync(bool isAlone, CancellationToken cancellationToken)
    {
        using SharedLock.Release tables = await _tables.EnterAloneAsync(cancellationToken).ConfigureAwait(false);
        await _metadata.CommitAsync(isAlone).ConfigureAwait(false);
    }

    private readonly record struct Turn(SharedLock.Release Together, RangeLock.Release Range) : IDisposable
    {
        public void Dispose()
        {
            Range.Dispose();
            Together.Dispose();
        }
    }

    private sealed class Halt(GuestWriter writer, SharedLock.Release alone) : IDisposable
    {
        private int _disposals;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _disposals, 1) == 0)
            {
                writer._isStale = true;
                alone.Dispose();
            }
        }
    }
}
