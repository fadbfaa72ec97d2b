using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images.Creation;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Copying;

/// <summary>A raw file or device: the disk's bytes as they are.</summary>
internal sealed class RawTarget : ICopyTarget
{
    private const int ZeroBufferBytes = 1 << 20;
    private const int SectorBytes = 512;

    private static readonly byte[] s_zeros = new byte[ZeroBufferBytes];

    private readonly NewFile? _made;
    private readonly ImageStorage _storage;
    private readonly bool _isFlushed;

    private RawTarget(NewFile? made, ImageStorage storage, long zeroFromBytes, bool isFlushed)
    {
        _made = made;
        _storage = storage;
        _isFlushed = isFlushed;
        ZeroFromBytes = zeroFromBytes;
    }

    public long ZeroFromBytes { get; }

    /// <summary>Nothing is known of it: holes are made again by one call for each run of zeros.</summary>
    public ChainMap? Map => null;

    public int UnitBytes => SectorBytes;

    public int ClusterBytes => SectorBytes;

    /// <summary>Makes a file, in place of one that there may be; a block device is taken as it is.</summary>
    /// <exception cref="Qcow2UnsupportedException">Space is to be taken on a block device.</exception>
    /// <exception cref="NoSpaceException">A block device is too small.</exception>
    /// <exception cref="ImageLockedException">Somebody else has it open.</exception>
    /// <exception cref="IOException">It cannot be made.</exception>
    public static async ValueTask<RawTarget> CreateAsync(string path, long sizeBytes, ConversionOptions options, FileRights rights, CancellationToken cancellationToken)
    {
        NewFile file = NewFile.Create(path, rights);
        try
        {
            await file.FillAsync(sizeBytes, options.RawPreallocation, cancellationToken).ConfigureAwait(false);
            return new RawTarget(file, file.Storage, file.Storage.CapacityBytes is null ? 0 : long.MaxValue, options.Flush);
        }
        catch
        {
            await file.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Opens one that there is.</summary>
    /// <exception cref="NoSpaceException">It is too small.</exception>
    /// <exception cref="ImageLockedException">Somebody else has it open.</exception>
    /// <exception cref="IOException">It cannot be opened.</exception>
    public static async ValueTask<RawTarget> OpenAsync(string path, long sizeBytes, ConversionOptions options)
    {
        var storage = FileStorage.Open(path, StorageAccess.ReadWrite, ImageLock.Write);
        try
        {
            long there = RawImage.SizeOf(storage);
            return there < sizeBytes
                ? throw ImageConversion.TooSmall(sizeBytes, there)
                : new RawTarget(null, storage, options.TargetIsZero ? 0 : long.MaxValue, options.Flush);
        }
        catch
        {
            await storage.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    public async ValueTask ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) =>
        await _storage.ReadZeroFilledAsync(offset, buffer, cancellationToken).ConfigureAwait(false);

    public ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> bytes, BytesOrigin? origin, CancellationToken cancellationToken) => _storage.WriteOrCloneAsync(offset, bytes, origin, cancellationToken);

    public async ValueTask WriteZerosAsync(long offset, long length, CancellationToken cancellationToken)
    {
        if (await _storage.TryZeroAsync(offset, length, cancellationToken).ConfigureAwait(false))
        {
            return;
        }

        for (long done = 0; done < length; done += ZeroBufferBytes)
        {
            await _storage.WriteAsync(offset + done, s_zeros.AsMemory(0, (int)Math.Min(ZeroBufferBytes, length - done)), cancellationToken).ConfigureAwait(false);
        }
    }

    public ValueTask WriteCompressedAsync(long offset, ReadOnlyMemory<byte> cluster, CancellationToken cancellationToken) =>
        throw new NotSupportedException("A raw disk is not compressed");

    public async ValueTask CompleteAsync(IReadOnlyList<CarriedBitmap> bitmaps, CancellationToken cancellationToken)
    {
        if (_isFlushed)
        {
            await _storage.FlushAsync(cancellationToken).ConfigureAwait(false);
        }

        _made?.Keep();
    }

    public ValueTask DisposeAsync() => _made?.DisposeAsync() ?? _storage.DisposeAsync();
}
