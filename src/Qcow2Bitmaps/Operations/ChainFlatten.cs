using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>Creates one standalone image from a chain.</summary>
/// <remarks>
/// What the guest sees is copied to a new qcow2 image, with every valid bitmap's bits merged over all images. Cluster size and extended L2
/// entries are the top image's. If it fails, a file that it made is removed.
/// </remarks>
public sealed class ChainFlatten : ChainOperation
{
    private readonly string _targetPath;
    private readonly bool _compress;

    internal ChainFlatten(ImageChain chain, string targetPath, bool compress = false)
        : base(chain)
    {
        ArgumentException.ThrowIfNullOrEmpty(targetPath);
        _targetPath = targetPath;
        _compress = compress;
    }

    internal ConversionOptions Options => new()
    {
        IsQcow2 = true,
        Create = Create,
        Compress = _compress,
        Bitmaps = Chain.Layers[0] is RawLayer ? BitmapCopying.None : BitmapCopying.SkipInvalid,
    };

    private Qcow2CreateOptions Create => ChainSnapshot.OptionsFor(Chain.Layers[0]);

    /// <summary>Opens a chain to make a standalone image of it.</summary>
    /// <param name="topPath">The top image.</param>
    /// <param name="targetPath">The image to create; existing content is replaced.</param>
    /// <param name="compress">Whether clusters are compressed (zlib). It is measured without that.</param>
    /// <param name="open">How the chain is opened; the defaults when null. It is only read.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <inheritdoc cref="ChainSnapshot.OpenAsync" path="/exception"/>
    public static Task<ChainFlatten> OpenAsync(
        string topPath, string targetPath, bool compress = false, ChainOpenOptions? open = null,
        CancellationToken cancellationToken = default) =>
        OpenAsync(topPath, open, isReadOnly: true, chain => new ChainFlatten(chain, targetPath, compress), cancellationToken);

    internal override ChainOperation On(ImageChain standIn, MeasureDepth depth) => new ChainFlatten(standIn, _targetPath, _compress);

    internal async Task<ChainResult> RunAsync(
        string target, ConversionOptions options, Func<long, ValueTask<CopyTarget>> openTarget, IProgress<OperationProgress>? progress,
        CancellationToken cancellationToken)
    {
        await Chain.RequireWholeAsync(withDataFiles: true, cancellationToken).ConfigureAwait(false);
        (IReadOnlyList<BitmapVerdict> skipped, long writtenBytes) = await ImageConversion.ConvertAsync(
            [Chain], options, openTarget, progress, cancellationToken).ConfigureAwait(false);
        var changes = new List<BitmapChange>();
        foreach (BitmapInfo bitmap in Chain.Layers[0].Bitmaps)
        {
            BitmapVerdict? left = skipped.FirstOrDefault(verdict => string.Equals(verdict.Name, bitmap.Name, StringComparison.Ordinal));
            changes.Add(left is null
                ? new BitmapChange(bitmap.Name, BitmapChangeKind.Merged, target)
                : new BitmapChange(bitmap.Name, BitmapChangeKind.LeftBehind, Chain.Layers[0].Path, left.Detail));
        }

        return new ChainResult(changes, writtenBytes) { Verdicts = skipped };
    }

    private protected override async Task<ChainResult> DoAsync(IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        ConversionOptions options = Options;
        if (!_compress)
        {
            await RequireRoomAsync(cancellationToken).ConfigureAwait(false);
        }

        return await RunAsync(
            _targetPath,
            options,
            size => ImageConversion.OpenTargetAsync([Chain], _targetPath, size, options, cancellationToken),
            progress,
            cancellationToken).ConfigureAwait(false);
    }

    private protected override async Task<ChainMeasurement> MeasureCoreAsync(MeasureDepth depth, CancellationToken cancellationToken)
    {
        ConversionOptions options = Options with { Rehearses = depth, Compress = false };
        var storage = new RehearsalStorage(MemoryStorage.ReadOnly([], "the new image"), isBounded: false);
        await using (storage.ConfigureAwait(false))
        {
            ChainResult forecast = await RunAsync(
                storage.Name, options,
                async size => await CopyTarget.CreateInAsync(
                    storage, Create with { SizeBytes = size }, options, cancellationToken).ConfigureAwait(false),
                null, cancellationToken).ConfigureAwait(false);
            var room = new ImageRoom(storage.Name, 0, ChainMeasurement.WholeClusters(storage.Length, Create));
            return new ChainMeasurement(room, [room], forecast)
            {
                FullyAllocatedBytes = ChainMeasurement.FullyAllocated(Chain, Create),
                IsExact = depth == MeasureDepth.Data,
            };
        }
    }

    /// <summary>Throws if a device is too small, or if a new file surely does not fit.</summary>
    private async ValueTask RequireRoomAsync(CancellationToken cancellationToken)
    {
        string path = _targetPath;
        long? room = null;
        bool isVolume = false;
        if (FileStorage.IdentityOf(path) is null)
        {
            room = FileSystemRoom.AvailableBytes(SpaceCheck.FolderOf(path));
        }
        else if (FilePlace.Of(path).IsBlockDevice)
        {
            var look = FileStorage.Open(path, FileAccess.Read, ImageLock.None);
            await using (look.ConfigureAwait(false))
            {
                room = look.CapacityBytes;
                isVolume = true;
            }
        }

        if (room is not { } there || there >= ChainMeasurement.FullyAllocated(Chain, Create))
        {
            return;
        }

        long needed = 0;
        foreach (MeasureDepth depth in SpaceCheck.Depths)
        {
            needed = (await MeasureCoreAsync(depth, cancellationToken).ConfigureAwait(false)).Target.RequiredBytes;
            if (needed <= there)
            {
                return;
            }
        }

        throw isVolume
            ? NoSpaceException.OfVolume(path, needed, there)
            : new NoSpaceException($"'{path}': no space: {needed} bytes needed, {there} are free; nothing was written", needed, there);
    }
}
