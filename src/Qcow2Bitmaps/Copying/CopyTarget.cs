using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Images.Creation;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Copying;

/// <summary>
/// The file or device that a copy creates or writes in place: its disk, and the steps that complete it. If it is disposed before it is
/// complete, it is deleted, unless something existed before.
/// </summary>
internal sealed class CopyTarget : IAsyncDisposable
{
    private readonly IAsyncDisposable _file;
    private readonly ImageChain? _chain;
    private readonly UnpublishedStorage? _unpublished;
    private readonly bool _isFlushed;
    private bool _isComplete;

    private CopyTarget(
        IAsyncDisposable file, Disk disk, long zeroFromBytes, bool isFlushed, ImageChain? chain = null,
        UnpublishedStorage? unpublished = null)
    {
        _file = file;
        _isFlushed = isFlushed;
        _chain = chain;
        _unpublished = unpublished;
        Disk = disk;
        ZeroFromBytes = zeroFromBytes;
    }

    /// <summary>The disk to write.</summary>
    public Disk Disk { get; }

    /// <summary>
    /// The offset, in bytes, from which the disk reads as zeros until it is written; <see cref="long.MaxValue"/> if unknown.
    /// </summary>
    public long ZeroFromBytes { get; }

    /// <summary>The backing file; null without one.</summary>
    public StorageIdentity? Backing => _chain is { Layers.Count: > 1 } chain ? chain.Layers[1].Storage.Key : null;

    /// <summary>Creates an image or a raw file, replacing an existing file. A block device is used as it is.</summary>
    /// <exception cref="Qcow2UnsupportedException">Preallocation was requested on a block device.</exception>
    /// <exception cref="NoSpaceException">A block device is too small.</exception>
    /// <exception cref="ImageLockedException">Somebody else has it open.</exception>
    /// <inheritdoc cref="Qcow2Image.CreateAsync(string, Qcow2CreateOptions, CancellationToken)" path="/exception"/>
    public static async ValueTask<CopyTarget> CreateAsync(
        string path, long sizeBytes, ConversionOptions options, FileRights rights, CancellationToken cancellationToken)
    {
        if (!options.IsQcow2)
        {
            return await CreateRawAsync(path, sizeBytes, options, rights, cancellationToken).ConfigureAwait(false);
        }

        Qcow2CreateOptions create = (options.Create ?? new Qcow2CreateOptions { SizeBytes = sizeBytes }) with { SizeBytes = sizeBytes };
        long zeroFrom = 0;
        if (create.BackingFile is { } backing)
        {
            Qcow2CreateOptions below = await InspectAsync(path, create, options, cancellationToken).ConfigureAwait(false);
            zeroFrom = below.SizeBytes;
            create = create with { BackingFile = below.BackingFile };
            rights = rights.With(BackingPath.Combine(path, backing));
        }

        if (create.DataFile is not null)
        {
            await FileCreation.CreateAsync(path, create, rights, cancellationToken).ConfigureAwait(false);
            var storage = FileStorage.Open(path, FileAccess.ReadWrite, ImageLock.Write);
            return await OpenAsync(
                storage, new BorrowedStorage(storage, options.Flush), create, options, zeroFrom, cancellationToken).ConfigureAwait(false);
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

        return await OpenAsync(file, made, create, options, zeroFrom, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Makes an image without a backing file in a storage, which stays open.</summary>
    /// <inheritdoc cref="Qcow2Image.CreateAsync(string, Qcow2CreateOptions, CancellationToken)" path="/exception"/>
    public static async ValueTask<CopyTarget> CreateInAsync(
        ImageStorage storage, Qcow2CreateOptions create, ConversionOptions options, CancellationToken cancellationToken)
    {
        BorrowedStorage made = await CreateAsync(storage, create, options, cancellationToken).ConfigureAwait(false);
        return await OpenAsync(made, made, create, options, 0, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Opens an existing target.</summary>
    /// <exception cref="NoSpaceException">Its disk is too small.</exception>
    /// <exception cref="ImageLockedException">Somebody else has it open.</exception>
    /// <exception cref="Qcow2FormatException">It is broken.</exception>
    /// <exception cref="Qcow2UnsupportedException">It cannot be written.</exception>
    /// <exception cref="IOException">It cannot be opened.</exception>
    public static async ValueTask<CopyTarget> OpenAsync(
        string path, long sizeBytes, ConversionOptions options, CancellationToken cancellationToken)
    {
        var storage = FileStorage.Open(path, FileAccess.ReadWrite, ImageLock.Write);
        long zeroFrom = options.TargetIsZero ? 0 : long.MaxValue;
        CopyTarget target = options.IsQcow2
            ? await OpenAsync(
                storage, new BorrowedStorage(storage, options.Flush), null, options, zeroFrom, cancellationToken).ConfigureAwait(false)
            : await OpenRawAsync(storage, storage, options, zeroFrom).ConfigureAwait(false);
        if (target.Disk.SizeBytes < sizeBytes)
        {
            long there = target.Disk.SizeBytes;
            await target.DisposeAsync().ConfigureAwait(false);
            throw ImageConversion.TooSmall(sizeBytes, there);
        }

        return target;
    }

    /// <summary>Throws if the image cannot store the bitmaps.</summary>
    /// <exception cref="BitmapStateException">It already has a bitmap of that name, or its disk has another size.</exception>
    public void RequireRoomFor(IReadOnlyList<CarriedBitmap> bitmaps)
    {
        foreach (CarriedBitmap bitmap in bitmaps)
        {
            if (Disk is GuestWriter writer && writer.Bitmaps.TryGet(bitmap.Name, out _))
            {
                throw new BitmapStateException(bitmap.Name, $"Failed to create bitmap {bitmap.Name}: Bitmap already exists: {bitmap.Name}");
            }

            if (bitmap.Bits.SizeBytes != Disk.SizeBytes)
            {
                throw new BitmapStateException(
                    bitmap.Name,
                    $"Failed to populate bitmap {bitmap.Name}: Bitmaps are of different sizes (destination size is {Disk.SizeBytes}, "
                    + $"source size is {bitmap.Bits.SizeBytes}) and can't be merged");
            }
        }
    }

    /// <summary>Completes the target.</summary>
    /// <param name="bitmaps">The bitmaps to store in it.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <exception cref="IOException">The storage failed, or had failed before: not all that was written is in the target.</exception>
    public async ValueTask CompleteAsync(IReadOnlyList<CarriedBitmap> bitmaps, CancellationToken cancellationToken)
    {
        if (Disk is GuestWriter writer)
        {
            // Its disposal tells of a failure once, and a call may have done so.
            writer.RequireIntact();
            await writer.DisposeAsync().ConfigureAwait(false);
            if (bitmaps.Count > 0)
            {
                var edit = new BitmapEdit();
                foreach (CarriedBitmap bitmap in bitmaps)
                {
                    edit.AddCarried(bitmap.Name, bitmap.Bits.GranularityBytes, bitmap.IsRecording).Merge(bitmap.Bits, bitmap.Name);
                }

                await writer.Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
            }
        }
        else if (_isFlushed)
        {
            await Disk.FlushAsync(cancellationToken).ConfigureAwait(false);
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
            await Disk.DisposeAsync().ConfigureAwait(false);
        }
        catch (Exception e) when (!_isComplete && e is IOException or UnauthorizedAccessException)
        {
            // The error that stopped the copy is being thrown and says more.
        }
        finally
        {
            if (_chain is not null)
            {
                await _chain.DisposeAsync().ConfigureAwait(false);
            }

            await _file.DisposeAsync().ConfigureAwait(false);
        }
    }

    private static async ValueTask<CopyTarget> CreateRawAsync(
        string path, long sizeBytes, ConversionOptions options, FileRights rights, CancellationToken cancellationToken)
    {
        NewFile file = NewFile.Create(path, rights);
        try
        {
            await file.FillAsync(sizeBytes, options.RawPreallocation, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await file.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        return await OpenRawAsync(
            file, file.Storage, options, file.Storage.CapacityBytes is null ? 0 : long.MaxValue).ConfigureAwait(false);
    }

    private static async ValueTask<CopyTarget> OpenRawAsync(
        IAsyncDisposable file, ImageStorage storage, ConversionOptions options, long zeroFrom)
    {
        try
        {
            return new CopyTarget(file, new RawDisk(storage), zeroFrom, options.Flush);
        }
        catch
        {
            await file.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Creates the image, empty, and unless it appears at once, not yet recognizable as one.</summary>
    private static async ValueTask<BorrowedStorage> CreateAsync(
        ImageStorage storage, Qcow2CreateOptions create, ConversionOptions options, CancellationToken cancellationToken)
    {
        BorrowedStorage made = options.AppearsAtOnce
            ? new BorrowedStorage(storage, options.Flush)
            : new UnpublishedStorage(storage, options.Flush);
        await Qcow2Image.CreateAsync(made, create, cancellationToken).ConfigureAwait(false);
        return made;
    }

    /// <summary>Inspects the chain below the new image. The backing file may be in any folder, since the caller chose it.</summary>
    private static async ValueTask<Qcow2CreateOptions> InspectAsync(
        string path, Qcow2CreateOptions create, ConversionOptions options, CancellationToken cancellationToken)
    {
        var below = new ChainOpenOptions
        {
            Image = new Qcow2OpenOptions { Lock = ImageLock.None },
            TopFormat = create.BackingFormat,
            AllowedFolders = options.AllowedFolders,
        };
        return await OverlayBase.InspectAsync(path, create.BackingFile!, below, cancellationToken).ConfigureAwait(false);
    }

    private static async ValueTask<CopyTarget> OpenAsync(
        IAsyncDisposable file, BorrowedStorage borrowed, Qcow2CreateOptions? create, ConversionOptions options, long zeroFrom,
        CancellationToken cancellationToken)
    {
        ImageStorage storage = borrowed.Lender;
        ImageChain? chain = null;
        try
        {
            // A data file's name is relative to the current folder, a backing file's to the image's folder.
            IEnumerable<string> named = new[]
            {
                create?.BackingFile is { } backing ? BackingPath.Combine(storage.Name, backing) : null,
                create?.DataFile,
            }.OfType<string>().Select(BackingPath.FolderOf);
            chain = await ImageChain.OpenAsync(
                borrowed,
                new ChainOpenOptions
                {
                    TopFormat = ImageFormat.Qcow2,
                    WritableLayers = [0],
                    Resolver = LinuxNative.IsSupported && storage is FileStorage
                        ? FileBackingResolver.ForTop(storage.Name, [.. named, .. options.AllowedFolders])
                        : null,
                },
                cancellationToken).ConfigureAwait(false);
            GuestWriter writer = await chain.OpenWriterAsync(0, marksWrites: true, cancellationToken).ConfigureAwait(false);
            // A device as a raw data file keeps its bytes when the image is made.
            bool isZero = create is not { DataFileRaw: true } || chain.Storages.All(static other => other.CapacityBytes is null);
            return new CopyTarget(file, writer, isZero ? zeroFrom : long.MaxValue, options.Flush, chain, borrowed as UnpublishedStorage);
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
