using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Images.Creation;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Copying;

/// <summary>A qcow2 image, new or as it is.</summary>
internal sealed class Qcow2Target : ICopyTarget
{
    private readonly IAsyncDisposable _file;
    private readonly ImageChain _chain;
    private readonly GuestWriter _writer;
    private readonly UnpublishedStorage? _unpublished;
    private bool _isComplete;

    private Qcow2Target(IAsyncDisposable file, BorrowedStorage storage, ImageChain chain, GuestWriter writer, ChainMap? map, long zeroFromBytes)
    {
        _file = file;
        _unpublished = storage as UnpublishedStorage;
        _chain = chain;
        _writer = writer;
        Map = map;
        ZeroFromBytes = zeroFromBytes;
    }

    public long ZeroFromBytes { get; }

    public ChainMap? Map { get; }

    public int UnitBytes => Image.Geometry.HasExtendedL2 ? Image.Geometry.SubclusterSizeBytes : Image.ClusterSizeBytes;

    public int ClusterBytes => Image.ClusterSizeBytes;

    /// <summary>The backing file; null without one.</summary>
    public StorageIdentity? Backing => _chain.Layers.Count > 1 ? _chain.Layers[1].Storage.Identity : null;

    private Qcow2Image Image => _chain.Layers[0].Image!;

    /// <summary>Makes an image, in place of a file that there may be.</summary>
    /// <inheritdoc cref="Qcow2Image.CreateAsync(string, Qcow2CreateOptions, CancellationToken)" path="/exception"/>
    public static async ValueTask<Qcow2Target> CreateAsync(string path, long sizeBytes, ConversionOptions options, FileRights rights, CancellationToken cancellationToken)
    {
        Qcow2CreateOptions create = (options.Create ?? new Qcow2CreateOptions { SizeBytes = sizeBytes }) with { SizeBytes = sizeBytes };
        long zeroFrom = 0;
        if (create.BackingFile is { } backing)
        {
            OverlayBase below = await InspectAsync(path, create, options, cancellationToken).ConfigureAwait(false);
            zeroFrom = below.VirtualSizeBytes;
            create = create with { BackingFile = below.BackingFile };
            rights = rights.With(BackingPath.Combine(path, backing));
        }

        if (create.DataFile is not null)
        {
            await FileCreation.CreateAsync(path, create, rights, cancellationToken).ConfigureAwait(false);
            var storage = FileStorage.Open(path, StorageAccess.ReadWrite, ImageLock.Write);
            return await OpenAsync(storage, storage, new BorrowedStorage(storage, options.Flush), create, options, zeroFrom, cancellationToken).ConfigureAwait(false);
        }

        NewFile file = NewFile.Create(path, rights);
        BorrowedStorage made;
        try
        {
            made = await CreateAsync(file.Storage, create, options, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await file.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        return await OpenAsync(file, file.Storage, made, create, options, zeroFrom, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Makes an image without a backing file in a storage, which stays open.</summary>
    /// <inheritdoc cref="Qcow2Image.CreateAsync(string, Qcow2CreateOptions, CancellationToken)" path="/exception"/>
    public static async ValueTask<Qcow2Target> CreateInAsync(ImageStorage storage, Qcow2CreateOptions create, ConversionOptions options, CancellationToken cancellationToken)
    {
        BorrowedStorage made = await CreateAsync(storage, create, options, cancellationToken).ConfigureAwait(false);
        return await OpenAsync(made, storage, made, create, options, 0, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Opens an image that there is.</summary>
    /// <exception cref="NoSpaceException">Its disk is too small.</exception>
    /// <exception cref="ImageLockedException">Somebody else has it open.</exception>
    /// <exception cref="Qcow2FormatException">It is broken.</exception>
    /// <exception cref="Qcow2UnsupportedException">It cannot be written.</exception>
    /// <exception cref="IOException">It cannot be opened.</exception>
    public static async ValueTask<Qcow2Target> OpenAsync(string path, long sizeBytes, ConversionOptions options, CancellationToken cancellationToken)
    {
        var storage = FileStorage.Open(path, StorageAccess.ReadWrite, ImageLock.Write);
        Qcow2Target target = await OpenAsync(storage, storage, new BorrowedStorage(storage, options.Flush), null, options, options.TargetIsZero ? 0 : long.MaxValue, cancellationToken).ConfigureAwait(false);
        if (target._writer.SizeBytes < sizeBytes)
        {
            long there = target._writer.SizeBytes;
            await target.DisposeAsync().ConfigureAwait(false);
            throw ImageConversion.TooSmall(sizeBytes, there);
        }

        return target;
    }

    public async ValueTask ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) =>
        await _writer.ReadAsync(offset, buffer, cancellationToken).ConfigureAwait(false);

    public ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> bytes, BytesOrigin? origin, CancellationToken cancellationToken) => _writer.WriteOrCloneAsync(offset, bytes, origin, cancellationToken);

    public ValueTask WriteZerosAsync(long offset, long length, CancellationToken cancellationToken) => _writer.WriteZerosAsync(offset, length, mayUnmap: true, cancellationToken);

    public ValueTask WriteCompressedAsync(long offset, ReadOnlyMemory<byte> cluster, CancellationToken cancellationToken) =>
        // The sources may end within a cluster of a longer target, which keeps the rest of it.
        cluster.Length == ClusterBytes || offset + cluster.Length == _writer.SizeBytes
            ? _writer.WriteCompressedAsync(offset, cluster, cancellationToken)
            : _writer.WriteAsync(offset, cluster, cancellationToken);

    /// <summary>Refuses bitmaps that the image cannot take.</summary>
    /// <exception cref="BitmapStateException">It has one of that name, or its disk is of another size.</exception>
    public void RequireRoomFor(IReadOnlyList<CarriedBitmap> bitmaps)
    {
        foreach (CarriedBitmap bitmap in bitmaps)
        {
            if (Image.Bitmaps.TryGet(bitmap.Name, out _))
            {
                throw new BitmapStateException(bitmap.Name, $"Failed to create bitmap {bitmap.Name}: Bitmap already exists: {bitmap.Name}");
            }

            if (bitmap.Bits.SizeBytes != _writer.SizeBytes)
            {
                throw new BitmapStateException(
                    bitmap.Name, $"Failed to populate bitmap {bitmap.Name}: Bitmaps are of different sizes (destination size is {_writer.SizeBytes}, source size is {bitmap.Bits.SizeBytes}) and can't be merged");
            }
        }
    }

    public async ValueTask CompleteAsync(IReadOnlyList<CarriedBitmap> bitmaps, CancellationToken cancellationToken)
    {
        await _writer.DisposeAsync().ConfigureAwait(false);
        if (bitmaps.Count > 0)
        {
            var edit = new BitmapEdit();
            foreach (CarriedBitmap bitmap in bitmaps)
            {
                edit.AddCarried(bitmap.Name, bitmap.Bits.GranularityBytes, bitmap.IsRecording).Merge(bitmap.Bits, bitmap.Name);
            }

            await Image.Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
        }

        if (_unpublished is not null)
        {
            await _unpublished.PublishAsync(cancellationToken).ConfigureAwait(false);
        }

        (_file as NewFile)?.Keep();
        _isComplete = true;
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            await _writer.DisposeAsync().ConfigureAwait(false);
        }
        catch (Exception e) when (!_isComplete && e is IOException or UnauthorizedAccessException)
        {
            // The error that ended the copying is on its way and tells more.
        }
        finally
        {
            await _chain.DisposeAsync().ConfigureAwait(false);
            await _file.DisposeAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Makes the image, empty, and perhaps not to be seen yet.</summary>
    private static async ValueTask<BorrowedStorage> CreateAsync(ImageStorage storage, Qcow2CreateOptions create, ConversionOptions options, CancellationToken cancellationToken)
    {
        BorrowedStorage made = options.AppearsAtOnce ? new BorrowedStorage(storage, options.Flush) : new UnpublishedStorage(storage, options.Flush);
        await Qcow2Image.CreateAsync(made, create, cancellationToken).ConfigureAwait(false);
        return made;
    }

    /// <summary>The chain below the new image: the caller names the backing file, so that it may be anywhere.</summary>
    private static async ValueTask<OverlayBase> InspectAsync(string path, Qcow2CreateOptions create, ConversionOptions options, CancellationToken cancellationToken)
    {
        var below = new ChainOpenOptions { Image = new Qcow2OpenOptions { Lock = ImageLock.None }, TopFormat = create.BackingFormat, AllowedFolders = options.AllowedFolders };
        return await OverlayBase.InspectAsync(path, create.BackingFile!, below, cancellationToken).ConfigureAwait(false);
    }

    private static async ValueTask<Qcow2Target> OpenAsync(
        IAsyncDisposable file, ImageStorage storage, BorrowedStorage borrowed, Qcow2CreateOptions? create, ConversionOptions options, long zeroFrom, CancellationToken cancellationToken)
    {
        ImageChain? chain = null;
        try
        {
            // A data file's name starts from the current folder, a backing file's from the image's.
            IEnumerable<string> named = new[] { create?.BackingFile is { } backing ? BackingPath.Combine(storage.Name, backing) : null, create?.DataFile }.OfType<string>().Select(BackingPath.FolderOf);
            chain = await ImageChain.OpenAsync(
                borrowed,
                new ChainOpenOptions
                {
                    TopFormat = ImageFormat.Qcow2,
                    WritableLayers = [0],
                    Resolver = LinuxNative.IsSupported && storage is FileStorage ? FileBackingResolver.ForTop(storage.Name, [.. named, .. options.AllowedFolders]) : null,
                },
                cancellationToken).ConfigureAwait(false);
            ChainMap map = await chain.OpenDataAsync(cancellationToken).ConfigureAwait(false);
            GuestWriter writer = await chain.OpenWriterAsync(cancellationToken).ConfigureAwait(false);
            // A device as a raw data file keeps its bytes when the image is made.
            bool isZero = create is not { DataFileRaw: true } || chain.Storages.All(static other => other.CapacityBytes is null);
            return new Qcow2Target(file, borrowed, chain, writer, options.HoldsZeros || writer.HasRawDataFile ? null : map, isZero ? zeroFrom : long.MaxValue);
        }
        catch
        {
            if (chain is not null)
            {
                await chain.DisposeAsync().ConfigureAwait(false);
            }

            await file.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }
}
