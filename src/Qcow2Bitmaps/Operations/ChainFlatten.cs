using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>Makes one standalone image of a chain.</summary>
public static class ChainFlatten
{
    /// <summary>
    /// Copies what the guest sees to a new qcow2 image, with every valid bitmap's bits merged over all images. Cluster size
    /// and extended L2 entries are the top image's.
    /// </summary>
    /// <param name="chain">The chain, which is only read.</param>
    /// <param name="targetPath">The image to make; what there is goes.</param>
    /// <param name="compress">Whether clusters are compressed (zlib).</param>
    /// <param name="progress">Is told how many bytes of the disk are done.</param>
    /// <param name="cancellationToken">Ends the work; a target that was not there before goes again.</param>
    /// <returns>What became of the bitmaps, and how much was copied.</returns>
    /// <exception cref="Qcow2FormatException">An image is broken, or a file ends before clusters that its image
    /// names; nothing is written then.</exception>
    /// <inheritdoc cref="ImageConversion.ConvertAsync(IReadOnlyList{Disk}, string, ConversionOptions, IProgress{OperationProgress}?,
    /// CancellationToken)"
    /// path="/exception"/>
    public static async Task<ChainResult> RunAsync(
        ImageChain chain, string targetPath, bool compress = false, IProgress<OperationProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        ArgumentException.ThrowIfNullOrEmpty(targetPath);
        ConversionOptions options = OptionsFor(chain, compress);
        if (!compress)
        {
            await RequireRoomAsync(chain, targetPath, cancellationToken).ConfigureAwait(false);
        }

        return await RunAsync(
            chain,
            targetPath,
            options,
            size => ImageConversion.OpenTargetAsync([chain], targetPath, size, options, cancellationToken),
            progress,
            cancellationToken).ConfigureAwait(false);
    }

    internal static async Task<ChainResult> RunAsync(
        ImageChain chain, string target, ConversionOptions options, Func<long, ValueTask<CopyTarget>> openTarget,
        IProgress<OperationProgress>? progress,
        CancellationToken cancellationToken)
    {
        await chain.RequireWholeAsync(withDataFiles: true, cancellationToken).ConfigureAwait(false);
        (IReadOnlyList<BitmapVerdict> skipped, long writtenBytes) = await ImageConversion.ConvertAsync(
            [chain], options, openTarget, progress, cancellationToken).ConfigureAwait(false);
        var changes = new List<BitmapChange>();
        foreach (BitmapInfo bitmap in chain.Layers[0].Bitmaps)
        {
            BitmapVerdict? left = skipped.FirstOrDefault(verdict => string.Equals(verdict.Name, bitmap.Name, StringComparison.Ordinal));
            changes.Add(left is null
                ? new BitmapChange(bitmap.Name, BitmapChangeKind.Merged, target)
                : new BitmapChange(bitmap.Name, BitmapChangeKind.LeftBehind, chain.Layers[0].Path, left.Detail));
        }

        return new ChainResult(changes, writtenBytes) { Verdicts = skipped };
    }

    internal static ConversionOptions OptionsFor(ImageChain chain, bool compress)
    {
        var create = new Qcow2CreateOptions { SizeBytes = chain.Layers[0].VirtualSizeBytes };
        if (chain.Layers[0] is Qcow2Layer { Image: var image })
        {
            create = create with { ClusterSizeBytes = image.ClusterSizeBytes, ExtendedL2 = image.Header.HasExtendedL2 };
        }

        return new ConversionOptions
        {
            IsQcow2 = true,
            Create = create,
            Compress = compress,
            Bitmaps = chain.Layers[0] is RawLayer ? BitmapCopying.None : BitmapCopying.SkipInvalid,
        };
    }

    /// <summary>Refuses a device that is too small; a file only where it is new, and there is surely not enough.</summary>
    private static async ValueTask RequireRoomAsync(ImageChain chain, string path, CancellationToken cancellationToken)
    {
        long? room = null;
        bool isVolume = false;
        if (FileStorage.IdentityOf(path) is null)
        {
            room = FileSystemRoom.AvailableBytes(SpaceCheck.FolderOf(path));
        }
        else if (FilePlace.Of(path).IsBlockDevice)
        {
            var look = FileStorage.Open(path, StorageAccess.Read, ImageLock.None);
            await using (look.ConfigureAwait(false))
            {
                room = look.CapacityBytes;
                isVolume = true;
            }
        }

        if (room is not { } there || there >= ChainMeasurement.FullyAllocated(chain, OptionsFor(chain, compress: false).Create!))
        {
            return;
        }

        long needed = (await ChainMeasurement.OfFlattenAsync(
            chain, MeasureDepth.Tables, cancellationToken).ConfigureAwait(false)).Target.RequiredBytes;
        if (needed > there)
        {
            needed = (await ChainMeasurement.OfFlattenAsync(
                chain, MeasureDepth.Data, cancellationToken).ConfigureAwait(false)).Target.RequiredBytes;
        }

        if (needed > there)
        {
            throw isVolume
                ? NoSpaceException.OfVolume(path, needed, there)
                : new NoSpaceException($"'{path}': no space: {needed} bytes needed, {there} are free; nothing was written", needed, there);
        }
    }
}
