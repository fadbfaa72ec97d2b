using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Images.Resizing;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>
/// Gives the disk of an image, or of a raw file, another size; a qcow2 image's external data file and bitmaps with it.
/// </summary>
/// <remarks>The image is open with the locks of a writer until this is disposed. Not thread-safe.</remarks>
public sealed class ChainResize : IAsyncDisposable
{
    private readonly FileStorage _storage;
    private readonly IBackingResolver _resolver;
    private readonly ChainOpenOptions _open;
    private ImageStorage? _dataFile;

    private ChainResize(FileStorage storage, Qcow2Image? image, ChainOpenOptions open)
    {
        _storage = storage;
        Image = image;
        _open = open;
        _resolver = open.Resolver ?? FileBackingResolver.ForTop(storage.Name, open.AllowedFolders);
    }

    /// <summary>The image; null where it is raw.</summary>
    public Qcow2Image? Image { get; }

    /// <summary>The disk's size in bytes, so far.</summary>
    public long SizeBytes => Image?.VirtualSizeBytes ?? RawDisk.SizeOf(_storage);

    /// <summary>Opens an image to give its disk another size.</summary>
    /// <param name="path">The image.</param>
    /// <param name="open">Its format, and how the files that it names are opened; the defaults when null.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <exception cref="Qcow2UnsupportedException">It is of another format.</exception>
    /// <exception cref="Qcow2FormatException">The image is broken.</exception>
    /// <exception cref="ImageLockedException">Another process uses it.</exception>
    /// <exception cref="IOException">It cannot be opened.</exception>
    public static async Task<ChainResize> OpenAsync(
        string path, ChainOpenOptions? open = null, CancellationToken cancellationToken = default)
    {
        open ??= new ChainOpenOptions();
        open = open with { WritableLayers = [0], Image = open.Image with { IsLenient = false } };
        var storage = FileStorage.Open(path, FileAccess.ReadWrite, open.LockOf(0));
        try
        {
            string format = open.TopFormat ?? await ImageFormat.ProbeAsync(storage, cancellationToken).ConfigureAwait(false);
            Qcow2Image? image = format switch
            {
                ImageFormat.Raw => null,
                ImageFormat.Qcow2 => await Qcow2Image.OpenAsync(
                    storage, open.Image, leaveOpen: true, cancellationToken).ConfigureAwait(false),
                _ => throw new Qcow2UnsupportedException(
                    UnsupportedReason.Format, $"'{path}' is of format {format}, which is not resized here; the formats are qcow2 and raw"),
            };
            return new ChainResize(storage, image, open);
        }
        catch
        {
            await storage.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>
    /// Tells whether the disk will grow over what its raw data file has behind the disk's end: that becomes the disk's, and shows through
    /// overlays where they were zeros.
    /// </summary>
    /// <param name="sizeBytes">The size that the disk is to get.</param>
    /// <param name="cancellationToken">Ends the opening of the data file.</param>
    /// <exception cref="Qcow2UnsupportedException">The data file's name is refused.</exception>
    /// <exception cref="IOException">The data file cannot be opened.</exception>
    public async Task<bool> RevealsDataAsync(long sizeBytes, CancellationToken cancellationToken = default) =>
        sizeBytes > SizeBytes
        && Image is { Header.HasRawDataFile: true }
        && (await OpenDataFileAsync(cancellationToken).ConfigureAwait(false))?.Length > SizeBytes;

    /// <summary>Gives the disk another size.</summary>
    /// <remarks>
    /// A data file that is longer than the disk is never cut: of one that keeps its length where the disk becomes smaller
    /// <see cref="Leftovers"/> tell.
    /// </remarks>
    /// <param name="sizeBytes">The new size, in bytes.</param>
    /// <param name="allowShrink">Whether the disk may become smaller, which deletes everything past the new end.</param>
    /// <param name="preallocation">How the added space is preallocated; only where the disk grows.</param>
    /// <param name="cancellationToken">Ends the work before anything of it counts.</param>
    /// <returns>The verdicts on the image's bitmaps over its chain as it is now, where that changed: where sizes differ
    /// (<see cref="BitmapVerdict.SizesDiffer"/>), QEMU cannot back up by a bitmap that it could before.</returns>
    /// <inheritdoc cref="Qcow2Image.ResizeAsync(long, bool, Preallocation, CancellationToken)" path="/exception"/>
    public async Task<IReadOnlyList<BitmapVerdict>> RunAsync(
        long sizeBytes, bool allowShrink = false, Preallocation preallocation = Preallocation.Off,
        CancellationToken cancellationToken = default)
    {
        bool shrinks = sizeBytes < SizeBytes;
        if (Image is not { } image)
        {
            ResizeChange.RequireConsent(SizeBytes, sizeBytes, allowShrink);
            await ResizeRawAsync(sizeBytes, preallocation, cancellationToken).ConfigureAwait(false);
            return [];
        }

        var options = new Qcow2ResizeOptions
        {
            AllowShrink = allowShrink,
            Preallocation = preallocation,
            DataFile = await OpenDataFileAsync(cancellationToken).ConfigureAwait(false),
        };
        IReadOnlyList<BitmapVerdict> verdicts = [];
        // A disk that shrinks does not need what lies below, but its bitmaps are compared with those.
        if (image.BackingFile is not { } name || sizeBytes == SizeBytes || (shrinks && image.Bitmaps.Count == 0))
        {
            await image.ResizeAsync(sizeBytes, options, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            ImageStorage below = await new BackingReference(_storage.Name, name, image.BackingFormat, 1).OpenAsync(
                _resolver, _open.LockOf(1), cancellationToken).ConfigureAwait(false);
            ImageChain chain = await ImageChain.OpenAsync(
                below,
                new ChainOpenOptions { TopFormat = image.BackingFormat, Resolver = _resolver, Image = _open.Image },
                cancellationToken).ConfigureAwait(false);
            await using (chain.ConfigureAwait(false))
            {
                verdicts = await LaterChain.JudgeResizedAsync(image, sizeBytes, chain, cancellationToken).ConfigureAwait(false);
                await image.ResizeAsync(
                    sizeBytes, options with { Backing = shrinks ? null : chain }, cancellationToken).ConfigureAwait(false);
            }
        }

        if (shrinks && _dataFile is { CapacityBytes: null } file && file.Length > sizeBytes)
        {
            Leftovers.Tell(
                $"'{file.Name}' keeps its {file.Length} bytes: it was longer than the disk, and its data behind the disk's old end "
                + $"are kept");
        }

        return verdicts;
    }

    /// <summary>Closes the image and its data file.</summary>
    public async ValueTask DisposeAsync()
    {
        // Each is closed, also where closing another one fails.
        await using (_storage.ConfigureAwait(false))
        await using ((Image ?? (IAsyncDisposable)_storage).ConfigureAwait(false))
        {
            if (_dataFile is not null)
            {
                await _dataFile.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    private async ValueTask<ImageStorage?> OpenDataFileAsync(CancellationToken cancellationToken) =>
        _dataFile ??= Image?.DataFile is { } name
            ? await new BackingReference(_storage.Name, name, ImageFormat.Raw, 0)
            {
                Access = FileAccess.ReadWrite,
                IsDataFile = true,
            }.OpenAsync(_resolver, _open.LockOf(0), cancellationToken).ConfigureAwait(false)
            : null;

    /// <summary>A device is refused before a mode that no raw image has.</summary>
    private async ValueTask ResizeRawAsync(long sizeBytes, Preallocation preallocation, CancellationToken cancellationToken)
    {
        if (preallocation == Preallocation.Metadata)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Preallocation,
                _storage.CapacityBytes is null
                    ? "Unsupported preallocation mode: metadata"
                    : "Preallocation mode 'metadata' unsupported for this non-regular file");
        }

        await RawImage.ResizeAsync(_storage, sizeBytes, preallocation, cancellationToken).ConfigureAwait(false);
    }
}
