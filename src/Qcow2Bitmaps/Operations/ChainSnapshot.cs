using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>External snapshots: an overlay on top of a chain, that goes on recording.</summary>
public static class ChainSnapshot
{
    private const int PieceBytes = 1 << 20;

    /// <summary>
    /// Makes an overlay with an empty recording bitmap, of the same name and granularity, for every bitmap of the
    /// active image that records and is consistent.
    /// </summary>
    /// <remarks>
    /// libvirt's rule for live snapshots, of which its offline ones know nothing. Cluster size and extended L2 entries are the active
    /// image's, the size is that of its disk. The overlay appears whole or not at all: a file under its name when it is on disk, on a block
    /// device with its first sector. The active image is only read.
    /// </remarks>
    /// <param name="active">The chain below the overlay; its top image is the active one so far.</param>
    /// <param name="overlayPath">Where to make the overlay: a file that does not exist, or a block device, whose content is lost.</param>
    /// <param name="backingFile">The active image's name as the overlay is to store it, which has to lead to that file; null for its file
    /// name where both lie in one folder, else its whole path.</param>
    /// <param name="cancellationToken">Ends the work before the overlay appears.</param>
    /// <returns>What became of the active image's bitmaps. Where images of the chain have disks of different sizes, the verdicts are
    /// those on the overlay's bitmaps.</returns>
    /// <exception cref="Qcow2UnsupportedException">The chain would be too deep or lead back to itself, or the active image
    /// is raw and nobody stated that.</exception>
    /// <exception cref="NoSpaceException">The block device is too small.</exception>
    /// <exception cref="IOException">The overlay exists, or cannot be written.</exception>
    public static async Task<ChainResult> CreateAsync(
        ImageChain active, string overlayPath, string? backingFile = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(active);
        ArgumentException.ThrowIfNullOrEmpty(overlayPath);
        (ImageStorage image, ChainResult result) = await BuildAsync(
            active, overlayPath, backingFile, cancellationToken).ConfigureAwait(false);
        await using (image.ConfigureAwait(false))
        {
            if (FileStorage.IdentityOf(overlayPath) is null)
            {
                if (FileSystemRoom.AvailableBytes(SpaceCheck.FolderOf(overlayPath)) is { } free && free < image.Length)
                {
                    throw new NoSpaceException(
                        $"'{overlayPath}': no space: {image.Length} bytes needed, {free} are free; nothing was written", image.Length,
                        free);
                }

                await DurableFile.WriteAsync(overlayPath, image, active.Rights, cancellationToken).ConfigureAwait(false);
            }
            else
            {
                await WriteToDeviceAsync(overlayPath, image, cancellationToken).ConfigureAwait(false);
            }
        }

        return result;
    }

    internal static Qcow2CreateOptions OptionsFor(ChainLayer below)
    {
        var options = new Qcow2CreateOptions { SizeBytes = below.VirtualSizeBytes };
        return below is Qcow2Layer { Image: var image }
            ? options with { ClusterSizeBytes = image.ClusterSizeBytes, ExtendedL2 = image.Header.HasExtendedL2 }
            : options;
    }

    /// <summary>Makes the overlay in memory, which holds what is not zeros of it: little, as it has no guest data, and no bits.</summary>
    internal static async ValueTask<(ImageStorage Image, ChainResult Result)> BuildAsync(
        ImageChain active, string overlayPath, string? backingFile, CancellationToken cancellationToken)
    {
        ChainLayer below = active.Layers[0];
        RequireFits(active, overlayPath);
        var changes = new List<BitmapChange>();
        var edit = new BitmapEdit();
        foreach (BitmapInfo bitmap in below.Bitmaps)
        {
            if (bitmap.State == BitmapState.Recording && bitmap.Faults.Count == 0)
            {
                edit.AddCarried(bitmap.Name, bitmap.GranularityBytes);
                changes.Add(new BitmapChange(bitmap.Name, BitmapChangeKind.Added, overlayPath));
            }
            else
            {
                changes.Add(new BitmapChange(
                    bitmap.Name, BitmapChangeKind.LeftBehind, below.Path,
                    bitmap.State == BitmapState.Disabled ? "it does not record" : "it is inconsistent"));
            }
        }

        return await BuildAsync(
            active, overlayPath, below.NameIn(overlayPath, backingFile), edit, changes, cancellationToken).ConfigureAwait(false);
    }

    private static void RequireFits(ImageChain active, string overlayPath)
    {
        ChainLayer below = active.Layers[0];
        if (below is RawLayer && below.IsFormatProbed)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Format, $"'{below.Path}' looks raw, but its guest could have written that: its format has to be stated");
        }

        if (active.Layers.Count >= active.Options.Image.Limits.MaxChainDepth)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.ChainTooDeep, $"The chain would have more than {active.Options.Image.Limits.MaxChainDepth} images");
        }

        if (FileStorage.IdentityOf(overlayPath) is { } identity
            && active.Layers.FirstOrDefault(layer => layer.Storage.Identity == identity) is { } same)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.ChainLoop,
                $"'{overlayPath}' would be its own backing file: it is the same file as {same} of the chain below it");
        }
    }

    private static async ValueTask<(ImageStorage Image, ChainResult Result)> BuildAsync(
        ImageChain active, string overlayPath, string backingFile, BitmapEdit edit, List<BitmapChange> changes,
        CancellationToken cancellationToken)
    {
        ChainLayer below = active.Layers[0];
        Qcow2CreateOptions options = OptionsFor(below) with { BackingFile = backingFile, BackingFormat = below.Format };
        var memory = new RehearsalStorage(MemoryStorage.ReadOnly([], overlayPath), isBounded: false);
        await Qcow2Image.CreateAsync(memory, options, cancellationToken).ConfigureAwait(false);
        Qcow2Image overlay = await Qcow2Image.OpenAsync(
            memory, leaveOpen: true, cancellationToken: cancellationToken).ConfigureAwait(false);
        await using (overlay.ConfigureAwait(false))
        {
            await overlay.Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
            bool areAllEqual = active.Layers.All(layer => layer.VirtualSizeBytes == below.VirtualSizeBytes);
            IReadOnlyList<BitmapVerdict> verdicts = await LaterChain.JudgeAsync(
                [new Qcow2Layer(0, memory, overlay, isFormatProbed: false, isOpenForWritingElsewhere: false), .. active.Layers],
                changes.Where(change => !areAllEqual && change.Kind == BitmapChangeKind.Added),
                cancellationToken).ConfigureAwait(false);
            return (memory, new ChainResult(changes, 0) { Verdicts = verdicts });
        }
    }

    /// <summary>Writes the first sector last: until then nobody takes the device for an image.</summary>
    private static async ValueTask WriteToDeviceAsync(string path, ImageStorage image, CancellationToken cancellationToken)
    {
        var look = FileStorage.Open(path, StorageAccess.Read, ImageLock.None);
        await using (look.ConfigureAwait(false))
        {
            if (look.CapacityBytes is null)
            {
                throw IOException.Of($"'{path}' exists: an overlay is made as a new file, or on a block device");
            }
        }

        var device = FileStorage.Open(path, StorageAccess.ReadWrite, ImageLock.Write);
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
            // Zeros too: the device has something there.
            int length = await image.ReadAsync(at, buffer, cancellationToken).ConfigureAwait(false);
            await unpublished.WriteAsync(at, buffer.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
        }

        await unpublished.PublishAsync(cancellationToken).ConfigureAwait(false);
    }
}
