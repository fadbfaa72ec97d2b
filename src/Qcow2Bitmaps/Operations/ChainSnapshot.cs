using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>External snapshots: an overlay on top of a chain that continues its bitmaps.</summary>
/// <remarks>
/// The overlay has an empty recording bitmap, of the same name and granularity, for every bitmap of the active image that records and is
/// consistent: libvirt's rule for live snapshots, of which its offline ones know nothing. Cluster size and extended L2 entries are the
/// active image's, the size is that of its disk. The overlay appears whole or not at all: a file under its name when it is on disk, on a
/// block device with its first sector. The active image is only read. Where images of the chain have disks of different sizes, the verdicts
/// of the result are those on the overlay's bitmaps.
/// </remarks>
public sealed class ChainSnapshot : ChainOperation
{
    private const int PieceBytes = 1 << 20;

    private readonly string _overlayPath;
    private readonly string? _backingFile;

    internal ChainSnapshot(ImageChain active, string overlayPath, string? backingFile = null)
        : base(active)
    {
        ArgumentException.ThrowIfNullOrEmpty(overlayPath);
        _overlayPath = overlayPath;
        _backingFile = backingFile;
    }

    private ChainLayer Active => Chain.Layers[0];

    /// <summary>Opens a chain to make an overlay on it.</summary>
    /// <param name="activePath">The active image, the top of the chain.</param>
    /// <param name="overlayPath">Where to make the overlay: a file that does not exist, or a block device, whose content is lost.</param>
    /// <param name="backingFile">The active image's name as the overlay should store it, which must lead to that file. If null: its file
    /// name if both are in one folder, otherwise its full path.</param>
    /// <param name="open">How the chain is opened; the defaults when null. It is only read.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <exception cref="ImageLockedException">Another process uses one of the images in a way that excludes this.</exception>
    /// <exception cref="IOException">A file cannot be opened.</exception>
    public static Task<ChainSnapshot> OpenAsync(
        string activePath, string overlayPath, string? backingFile = null, ChainOpenOptions? open = null,
        CancellationToken cancellationToken = default) =>
        OpenAsync(activePath, open, isReadOnly: true, chain => new ChainSnapshot(chain, overlayPath, backingFile), cancellationToken);

    internal override ChainOperation On(ImageChain standIn, MeasureDepth depth) => new ChainSnapshot(standIn, _overlayPath, _backingFile);

    private protected override async Task<ChainResult> DoAsync(IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        (ImageStorage image, ChainResult result) = await BuildAsync(cancellationToken).ConfigureAwait(false);
        await using (image.ConfigureAwait(false))
        {
            if (FileStorage.IdentityOf(_overlayPath) is not null)
            {
                await WriteToDeviceAsync(image, cancellationToken).ConfigureAwait(false);
                return result;
            }

            if (FileSystemRoom.AvailableBytes(SpaceCheck.FolderOf(_overlayPath)) is { } free && free < image.Length)
            {
                throw new NoSpaceException(
                    $"'{_overlayPath}': no space: {image.Length} bytes needed, {free} are free; nothing was written", image.Length, free);
            }

            await DurableFile.WriteAsync(_overlayPath, image, Chain.Rights, cancellationToken).ConfigureAwait(false);
            return result;
        }
    }

    private protected override async Task<ChainMeasurement> MeasureCoreAsync(MeasureDepth depth, CancellationToken cancellationToken)
    {
        (ImageStorage image, ChainResult result) = await BuildAsync(cancellationToken).ConfigureAwait(false);
        await using (image.ConfigureAwait(false))
        {
            var room = new ImageRoom(_overlayPath, 0, image.Length);
            return new ChainMeasurement(room, [room], result)
            {
                FullyAllocatedBytes = ChainMeasurement.FullyAllocated(Chain, OptionsFor(Active)),
            };
        }
    }

    internal static Qcow2CreateOptions OptionsFor(ChainLayer below)
    {
        var options = new Qcow2CreateOptions { SizeBytes = below.VirtualSizeBytes };
        return below is Qcow2Layer { Image: var image }
            ? options with { ClusterSizeBytes = image.ClusterSizeBytes, ExtendedL2 = image.Header.HasExtendedL2 }
            : options;
    }

    /// <summary>Creates the overlay in memory, which stores only non-zero parts: few, as it has no guest data and no bits.</summary>
    internal async ValueTask<(ImageStorage Image, ChainResult Result)> BuildAsync(CancellationToken cancellationToken)
    {
        RequireFits();
        var changes = new List<BitmapChange>();
        var edit = new BitmapEdit();
        foreach (BitmapInfo bitmap in Active.Bitmaps)
        {
            if (bitmap.State == BitmapState.Recording && bitmap.Faults.Count == 0)
            {
                edit.AddCarried(bitmap.Name, bitmap.GranularityBytes);
                changes.Add(new BitmapChange(bitmap.Name, BitmapChangeKind.Added, _overlayPath));
            }
            else
            {
                changes.Add(new BitmapChange(
                    bitmap.Name, BitmapChangeKind.LeftBehind, Active.Path,
                    bitmap.State == BitmapState.Disabled ? "it does not record" : "it is inconsistent"));
            }
        }

        Qcow2CreateOptions options = OptionsFor(Active) with
        {
            BackingFile = Active.NameIn(_overlayPath, _backingFile),
            BackingFormat = Active.Format,
        };
        var memory = new RehearsalStorage(MemoryStorage.ReadOnly([], _overlayPath), isBounded: false);
        await Qcow2Image.CreateAsync(memory, options, cancellationToken).ConfigureAwait(false);
        Qcow2Image overlay = await Qcow2Image.OpenAsync(
            memory, leaveOpen: true, cancellationToken: cancellationToken).ConfigureAwait(false);
        await using (overlay.ConfigureAwait(false))
        {
            await overlay.Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
            bool areAllEqual = Chain.Layers.All(layer => layer.VirtualSizeBytes == Active.VirtualSizeBytes);
            IReadOnlyList<BitmapVerdict> verdicts = await LaterChain.JudgeAsync(
                [new Qcow2Layer(0, memory, overlay, isFormatProbed: false, isOpenForWritingElsewhere: false), .. Chain.Layers],
                changes.Where(change => !areAllEqual && change.Kind == BitmapChangeKind.Added),
                cancellationToken).ConfigureAwait(false);
            return (memory, new ChainResult(changes, 0) { Verdicts = verdicts });
        }
    }

    private void RequireFits()
    {
        if (Active is RawLayer && Active.IsFormatProbed)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Format, $"'{Active.Path}' looks raw, but its guest could have written that: its format has to be stated");
        }

        if (Chain.Layers.Count >= Chain.Options.Image.Limits.MaxChainDepth)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.ChainTooDeep, $"The chain would have more than {Chain.Options.Image.Limits.MaxChainDepth} images");
        }

        if (FileStorage.IdentityOf(_overlayPath) is { } identity
            && Chain.Layers.FirstOrDefault(layer => layer.Storage.Key == identity) is { } same)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.ChainLoop,
                $"'{_overlayPath}' would be its own backing file: it is the same file as {same} of the chain below it");
        }
    }

    /// <summary>Writes the first sector last: until then nothing recognizes the device as an image.</summary>
    private async ValueTask WriteToDeviceAsync(ImageStorage image, CancellationToken cancellationToken)
    {
        string path = _overlayPath;
        var look = FileStorage.Open(path, FileAccess.Read, ImageLock.None);
        await using (look.ConfigureAwait(false))
        {
            if (look.CapacityBytes is null)
            {
                throw IOException.Of($"'{path}' exists: an overlay is made as a new file, or on a block device");
            }
        }

        var device = FileStorage.Open(path, FileAccess.ReadWrite, ImageLock.Write);
        await using (device.ConfigureAwait(false))
        {
            long capacity = device.CapacityBytes ?? 0;
            if (capacity < image.Length)
            {
                throw NoSpaceException.OfVolume(path, image.Length, capacity);
            }

            await WriteWholeAsync(device, image, cancellationToken).ConfigureAwait(false);
        }
    }

    internal static async ValueTask WriteWholeAsync(ImageStorage device, ImageStorage image, CancellationToken cancellationToken)
    {
        var unpublished = new UnpublishedStorage(device, isFlushed: true);
        var buffer = new byte[Math.Min(PieceBytes, image.Length)];
        for (long at = 0; at < image.Length; at += buffer.Length)
        {
            // Zeros are written too, as the device has old content there.
            int length = await image.ReadAsync(at, buffer, cancellationToken).ConfigureAwait(false);
            await unpublished.WriteAsync(at, buffer.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
        }

        await unpublished.PublishAsync(cancellationToken).ConfigureAwait(false);
    }
}
