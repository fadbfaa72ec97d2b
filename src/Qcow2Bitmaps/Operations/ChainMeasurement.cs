using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>
/// The room that an operation on a chain needs, bitmaps included, and what will become of bitmaps, before anything is written.
/// </summary>
/// <remarks>
/// <para>
/// The operation is gone through on stand-ins for the files that take writes in memory, so that it is refused here for the same reasons.
/// The number is the length that the file needs; where all was read (<see cref="MeasureDepth.Data"/>) that is the length that it has
/// afterwards, rounded up to a whole cluster, if nobody writes the images in between.
/// </para>
/// <para>
/// One case is not told to the byte: the file may end up to 1 MiB for each worker from there, either way, where a target frees clusters
/// (zeros that take the place of data, data of internal snapshots or compressed ones) and its tables that change take more than 32 MiB, as
/// then it depends on the workers' pace what is freed in time to be used again. <see cref="MeasureDepth.Tables"/> is never less than
/// <see cref="MeasureDepth.Data"/>, and more by at most the clusters that are allocated and hold zeros, or lie beside such.
/// </para>
/// </remarks>
/// <param name="Target">The image that takes the data.</param>
/// <param name="FullyAllocatedBytes">The length that the target has once its disk and all its bitmaps are full, at most; null where the
/// target is raw, or its own past tells more.</param>
/// <param name="Images">All images that are written, the target among them.</param>
/// <param name="Depth">How closely was looked.</param>
/// <param name="Forecast">What will be done.</param>
public sealed record ChainMeasurement(
    ImageRoom Target, long? FullyAllocatedBytes, IReadOnlyList<ImageRoom> Images, MeasureDepth Depth, ChainResult Forecast)
{
    /// <summary>
    /// Whether the number is that which the operation will need; else it may be less (see the remarks), or is without data.
    /// </summary>
    public bool IsExact => Depth == MeasureDepth.Data;

    /// <summary>Measures a commit, that is <see cref="ChainCommit.RunAsync"/>.</summary>
    /// <param name="chain">The chain, open for reading or writing; nothing is written.</param>
    /// <param name="top">The index of the topmost committed image.</param>
    /// <param name="base">The index of the image that takes all.</param>
    /// <param name="options">How the commit is to be done.</param>
    /// <param name="depth">How closely to look.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <inheritdoc cref="ChainCommit.RunAsync" path="/exception"/>
    public static ValueTask<ChainMeasurement> OfCommitAsync(
        ImageChain chain, int top, int @base, CommitOptions? options = null, MeasureDepth depth = MeasureDepth.Data,
        CancellationToken cancellationToken = default) => OfAsync(
            chain,
            @base,
            depth,
            copy => ChainCommit.RunAsync(
                copy, top, @base, (options ?? CommitOptions.Default) with { Rehearses = depth }, null, cancellationToken),
            cancellationToken);

    /// <summary>Measures a pull, that is <see cref="ChainRebase.PullAsync"/>.</summary>
    /// <param name="chain">The chain, open for reading or writing; nothing is written.</param>
    /// <param name="base">The index of the image that is to be the backing file; null for none.</param>
    /// <param name="options">How the pull is to be done.</param>
    /// <param name="depth">How closely to look.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <inheritdoc cref="ChainRebase.PullAsync" path="/exception"/>
    public static ValueTask<ChainMeasurement> OfPullAsync(
        ImageChain chain, int? @base, RebaseOptions? options = null, MeasureDepth depth = MeasureDepth.Data,
        CancellationToken cancellationToken = default) => OfAsync(
            chain,
            options?.Top ?? 0,
            depth,
            copy =>
                ChainRebase.PullAsync(copy, @base, (options ?? RebaseOptions.Default) with { Rehearses = depth }, null, cancellationToken),
            cancellationToken);

    /// <summary>Measures a safe rebase, that is <see cref="ChainRebase.RebaseAsync"/>.</summary>
    /// <param name="chain">The chain, open for reading or writing; nothing is written.</param>
    /// <param name="backing">The chain that is to lie below; null for none.</param>
    /// <param name="options">How the rebase is to be done.</param>
    /// <param name="depth">How closely to look.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <inheritdoc cref="ChainRebase.PullAsync" path="/exception"/>
    public static ValueTask<ChainMeasurement> OfRebaseAsync(
        ImageChain chain, ImageChain? backing, RebaseOptions? options = null, MeasureDepth depth = MeasureDepth.Data,
        CancellationToken cancellationToken = default) => OfAsync(
            chain,
            options?.Top ?? 0,
            depth,
            copy => ChainRebase.RebaseAsync(
                copy, backing, (options ?? RebaseOptions.Default) with { Rehearses = depth }, null, cancellationToken),
            cancellationToken);

    /// <summary>
    /// Measures the rebuilding of a bitmap, that is <see cref="ChainPopulate.RunAsync"/>. The target is the topmost image that is written.
    /// </summary>
    /// <param name="chain">The chain, open for reading or writing; nothing is written.</param>
    /// <param name="name">The bitmap's name.</param>
    /// <param name="allDirty">As of the operation.</param>
    /// <param name="trustsBirth">As of the operation.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <inheritdoc cref="ChainPopulate.RunAsync" path="/exception"/>
    public static async ValueTask<ChainMeasurement> OfPopulateAsync(
        ImageChain chain, string name, bool allDirty = false, bool trustsBirth = false,
        CancellationToken cancellationToken = default) => await OfAsync(
            chain,
            (await ChainPopulate.FindImagesAsync(chain, name, cancellationToken).ConfigureAwait(false)).DefaultIfEmpty().Last(),
            MeasureDepth.Data,
            async copy => new ChainResult(
                await ChainPopulate.RunAsync(copy, name, allDirty, trustsBirth, cancellationToken).ConfigureAwait(false), 0),
            cancellationToken).ConfigureAwait(false);

    /// <summary>Measures the rebuilding of a bitmap from an older one, that is <see cref="ChainPopulate.RunSinceAsync"/>.</summary>
    /// <param name="chain">The chain, open for reading or writing; nothing is written.</param>
    /// <param name="name">The bitmap's name.</param>
    /// <param name="since">The older one's name.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <inheritdoc cref="ChainPopulate.RunSinceAsync" path="/exception"/>
    public static ValueTask<ChainMeasurement> OfPopulateSinceAsync(
        ImageChain chain, string name, string since, CancellationToken cancellationToken = default) =>
        OfAsync(
        chain,
        0,
        MeasureDepth.Data,
        async copy => new ChainResult([await ChainPopulate.RunSinceAsync(copy, name, since, cancellationToken).ConfigureAwait(false)], 0),
        cancellationToken);

    /// <summary>
    /// Measures the removal of bitmaps, that is <see cref="ChainBitmaps.DeleteAsync"/>. The target is the topmost image that is written.
    /// </summary>
    /// <param name="chain">The chain, open for reading or writing; nothing is written.</param>
    /// <param name="names">The bitmaps' names.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <inheritdoc cref="ChainBitmaps.DeleteAsync" path="/exception"/>
    public static ValueTask<ChainMeasurement> OfDeleteAsync(
        ImageChain chain, IReadOnlyCollection<string> names, CancellationToken cancellationToken = default) =>
        OfAsync(
        chain,
        ChainBitmaps.Holders(chain, names).DefaultIfEmpty().First(),
        MeasureDepth.Data,
        async copy => new ChainResult(await ChainBitmaps.DeleteAsync(copy, names, cancellationToken).ConfigureAwait(false), 0),
        cancellationToken);

    /// <summary>Measures a standalone image with all data and bits, that is <see cref="ChainFlatten"/> without compression.</summary>
    /// <param name="chain">The chain.</param>
    /// <param name="depth">How closely to look.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <inheritdoc cref="ImageConversion.ConvertAsync(IReadOnlyList{Disk}, string, ConversionOptions, IProgress{OperationProgress}?,
    /// CancellationToken)"
    /// path="/exception"/>
    public static async ValueTask<ChainMeasurement> OfFlattenAsync(
        ImageChain chain, MeasureDepth depth = MeasureDepth.Data, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        ConversionOptions options = ChainFlatten.OptionsFor(chain, compress: false) with { Rehearses = depth };
        var storage = new RehearsalStorage(MemoryStorage.ReadOnly([], "the new image"), isBounded: false);
        await using (storage.ConfigureAwait(false))
        {
            ChainResult forecast = await ChainFlatten.RunAsync(
                chain, storage.Name, options,
                async size => await CopyTarget.CreateInAsync(
                    storage, options.Create! with { SizeBytes = size }, options, cancellationToken).ConfigureAwait(false),
                null, cancellationToken).ConfigureAwait(false);
            var room = new ImageRoom(storage.Name, 0, WholeClusters(storage.Length, options.Create!));
            return new ChainMeasurement(room, FullyAllocated(chain, options.Create!), [room], depth, forecast);
        }
    }

    /// <summary>Measures an overlay, that is <see cref="ChainSnapshot.CreateAsync"/>.</summary>
    /// <param name="active">The chain below the overlay.</param>
    /// <param name="overlayPath">Where the overlay is to be.</param>
    /// <param name="backingFile">The active image's name as the overlay is to store it; null for that which a snapshot chooses.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <inheritdoc cref="ChainSnapshot.CreateAsync" path="/exception"/>
    public static async ValueTask<ChainMeasurement> OfSnapshotAsync(
        ImageChain active, string overlayPath, string? backingFile = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(active);
        ArgumentException.ThrowIfNullOrEmpty(overlayPath);
        (ImageStorage image, ChainResult result) = await ChainSnapshot.BuildAsync(
            active, overlayPath, backingFile, cancellationToken).ConfigureAwait(false);
        await using (image.ConfigureAwait(false))
        {
            var room = new ImageRoom(overlayPath, 0, image.Length);
            return new ChainMeasurement(
                room, FullyAllocated(active, ChainSnapshot.OptionsFor(active.Layers[0])), [room], MeasureDepth.Data, result);
        }
    }

    private static async ValueTask<ChainMeasurement> OfAsync(
        ImageChain chain, int target, MeasureDepth depth, Func<ImageChain, Task<ChainResult>> operation,
        CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(chain);
        Rehearsal rehearsal = await Rehearsal.OpenAsync(chain, isBounded: false, cancellationToken).ConfigureAwait(false);
        await using (rehearsal.ConfigureAwait(false))
        {
            ChainResult? forecast = null;
            await rehearsal.RunAsync(async copy => forecast = await operation(copy).ConfigureAwait(false)).ConfigureAwait(false);
            return new ChainMeasurement(rehearsal.RoomOf(target), null, [.. rehearsal.Rooms()], depth, forecast!);
        }
    }

    internal static long FullyAllocated(ImageChain chain, Qcow2CreateOptions create)
    {
        // Counts of the bitmaps' clusters take at most one more in eight, and one: blocks of 64 bits in the smallest clusters hold 64.
        long bitmaps = chain.Layers[0] is Qcow2Layer { Image: var image }
            ? ImageMeasurement.BitmapsOf(image, create.SizeBytes, create.ClusterSizeBytes)
            : 0;
        return ImageMeasurement.OfEmpty(create).FullyAllocatedBytes + bitmaps + WholeClusters((bitmaps / 8) + 1, create);
    }

    private static long WholeClusters(long bytes, Qcow2CreateOptions create) =>
        ImageGeometry.DivideRoundingUp(bytes, create.ClusterSizeBytes) * create.ClusterSizeBytes;
}
