using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Disks;

/// <summary>A raw disk: the bytes of a file, a device or another storage. Disposing the disk does not close the storage.</summary>
internal sealed class RawDisk : Disk
{
    private readonly ImageStorage _storage;
    // Differs from the storage if written data need not be kept.
    private readonly ImageStorage _data;
    private int _disposals;

    /// <summary>Uses the bytes of a storage as a disk, with the storage's current size.</summary>
    /// <param name="storage">The storage.</param>
    /// <exception cref="IOException">It is longer than a disk may be.</exception>
    public RawDisk(ImageStorage storage)
    {
        _storage = storage ?? throw new ArgumentNullException(nameof(storage));
        _data = storage.GuestData;
        SizeBytes = SizeOf(storage);
    }

    /// <inheritdoc/>
    public override string Name => _storage.Name;

    /// <inheritdoc/>
    public override long SizeBytes { get; }

    /// <inheritdoc/>
    public override bool CanWrite => _storage.CanWrite;

    /// <summary>A disk without bytes.</summary>
    internal static RawDisk Empty { get; } = new(MemoryStorage.ReadOnly([], "nothing"));

    internal override IEnumerable<ImageStorage> Storages => [_storage];

    /// <summary>What is closed with the disk; null for nothing.</summary>
    internal IAsyncDisposable? Owned { get; init; }

    /// <summary>The disk size of a raw image: the file's size rounded up to whole sectors of 512 bytes, like QEMU.</summary>
    /// <param name="storage">The image.</param>
    /// <exception cref="IOException">The file is longer than a disk may be.</exception>
    public static long SizeOf(ImageStorage storage)
    {
        ArgumentNullException.ThrowIfNull(storage);
        long length = storage.Length;
        return length <= MaxSizeBytes
            ? (length + SectorBytes - 1) & -SectorBytes
            : throw IOException.Of($"'{storage.Name}' has {length} bytes, a disk has at most {MaxSizeBytes}");
    }

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offsetBytes);
        int length = (int)Math.Clamp(SizeBytes - offsetBytes, 0, buffer.Length);
        await _data.ReadZeroFilledAsync(offsetBytes, buffer[..length], cancellationToken).ConfigureAwait(false);
        return length;
    }

    /// <inheritdoc/>
    public override ValueTask<long> ListAsync(
        long offsetBytes, long endBytes, List<DiskExtent> extents, CancellationToken cancellationToken = default) =>
        ListAsync(offsetBytes, endBytes, depth: 0, extents, cancellationToken);

    /// <inheritdoc/>
    public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default) =>
        WriteAsync(offsetBytes, bytes, null, cancellationToken);

    /// <inheritdoc/>
    public override async ValueTask WriteZerosAsync(
        long offsetBytes, long lengthBytes, bool mayUnmap = false, CancellationToken cancellationToken = default)
    {
        RequireRange(offsetBytes, lengthBytes);
        if (!mayUnmap || !CanWrite || !await _data.TryZeroAsync(offsetBytes, lengthBytes, cancellationToken).ConfigureAwait(false))
        {
            await base.WriteZerosAsync(offsetBytes, lengthBytes, mayUnmap, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public override ValueTask DiscardAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken = default)
    {
        RequireRange(offsetBytes, lengthBytes);
        return CanWrite ? _data.DiscardAsync(offsetBytes, lengthBytes, cancellationToken) : throw ReadOnly();
    }

    /// <inheritdoc/>
    public override ValueTask FlushAsync(CancellationToken cancellationToken = default) =>
        CanWrite ? _data.FlushAsync(cancellationToken) : ValueTask.CompletedTask;

    /// <summary>Closes what was opened for the disk. Once: later calls do nothing.</summary>
    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync().ConfigureAwait(false);
        if (Owned is not null && Interlocked.Exchange(ref _disposals, 1) == 0)
        {
            await Owned.DisposeAsync().ConfigureAwait(false);
        }
    }

    /// <summary>As <see cref="ListAsync(long, long, List{DiskExtent}, CancellationToken)"/>, of an image in a chain.</summary>
    internal async ValueTask<long> ListAsync(
        long offset, long end, int depth, List<DiskExtent> extents, CancellationToken cancellationToken)
    {
        StorageRange? data = await _storage.FindDataAsync(offset, cancellationToken).ConfigureAwait(false);
        long dataStart = Math.Min(end, data?.Offset ?? end);
        extents.Append(new DiskExtent(offset, dataStart - offset, ExtentKind.Zero, offset, Depth: depth));
        long dataEnd = Math.Min(end, data?.EndOffset ?? end);
        extents.Append(new DiskExtent(dataStart, dataEnd - dataStart, ExtentKind.Data, dataStart, Depth: depth));
        return Math.Max(dataStart, dataEnd);
    }

    internal override ValueTask WriteAsync(
        long offsetBytes, ReadOnlyMemory<byte> bytes, BytesOrigin? origin, CancellationToken cancellationToken)
    {
        RequireRange(offsetBytes, bytes.Length);
        return CanWrite ? _data.WriteOrCloneAsync(offsetBytes, bytes, origin, cancellationToken) : throw ReadOnly();
    }

    internal override StorageIdentity? FileOf(int depth) => _storage.Key;

    internal override BytesOrigin? OriginOf(DiskExtent extent) =>
        extent is { Kind: ExtentKind.Data, HostOffset: { } host } ? new BytesOrigin(_storage, host) : null;
}
