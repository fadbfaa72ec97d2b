using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Images.Naming;

namespace Qcow2Bitmaps.Operations;

// Decisions: docs/decisions/operations.md.
/// <summary>
/// Gives an image another backing file, so that the guest sees the same: by pulling what lies between, or by copying what differs.
/// </summary>
/// <remarks>
/// <para>
/// The image is the chain's top, or with <see cref="RebaseOptions.Top"/> one below it; it is called the top here. First its bitmaps get
/// what the images recorded that leave the chain, in one atomic edit; then the data are copied; then the header names the other backing
/// file. At each moment the guest sees the same, and what was valid is valid; stopped anywhere, the operation is run again and ends right.
/// </para>
/// <para>A bitmap that is not valid and would look valid without those images gets what they have, or is disabled
/// (<see cref="RebaseOptions.Gaps"/>). What is copied is not marked: it is no change.</para>
/// <para>
/// Images above the top: a bitmap of which they and images that leave have bits, and the top has none, is made in the top, disabled, so
/// that it does not look like all there is. What the top, being shorter, hides of images that leave is marked in longer ones above it.
/// </para>
/// </remarks>
public static class ChainRebase
{
    private const long DefaultGranularityBytes = 65536;

    /// <summary>Says which images a pull or a rebase writes: the top, and now and then longer ones above it.</summary>
    /// <param name="chain">The chain.</param>
    /// <param name="top">The index of the image that gets another backing file.</param>
    public static IEnumerable<int> WritableLayers(ImageChain chain, int top)
    {
        ArgumentNullException.ThrowIfNull(chain);
        ArgumentOutOfRangeException.ThrowIfNegative(top);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(top, chain.Layers.Count);
        return [.. OverhangsAbove(chain, top).Select(static overhang => overhang.Layer), top];
    }

    /// <summary>
    /// Finds the images whose internal snapshots read other data once an image has another backing file: that image alone, and
    /// not where its backing file stays the same.
    /// </summary>
    /// <param name="chain">The chain.</param>
    /// <param name="top">The index of the image that gets another backing file.</param>
    /// <param name="backing">What becomes its backing file; null for none.</param>
    public static IReadOnlyList<ChangedSnapshots> FindChangedSnapshots(ImageChain chain, int top, ChainLayer? backing)
    {
        ArgumentNullException.ThrowIfNull(chain);
        ChainLayer? below = top + 1 < chain.Layers.Count ? chain.Layers[top + 1] : null;
        bool stays = ReferenceEquals(below, backing) || (below?.Storage.Identity is { } identity && backing?.Storage.Identity == identity);
        return chain.Layers[top] is Qcow2Layer { Image.Snapshots.Count: > 0 } && !stays ? [new ChangedSnapshots(chain.Layers[top])] : [];
    }

    /// <summary>Pulls what the images between have into the top image.</summary>
    /// <param name="chain">The chain, with <see cref="WritableLayers"/> open for writing; to be closed afterwards.</param>
    /// <param name="base">The index of the image that is to be the backing file, below the top; null for none.</param>
    /// <param name="options">How; the defaults when null.</param>
    /// <param name="progress">Is told how many bytes of the disk are done.</param>
    /// <param name="cancellationToken">Ends the work; the chain is valid then, and the pull can be run again.</param>
    /// <returns>What became of the bitmaps, and how much was copied.</returns>
    /// <exception cref="ArgumentOutOfRangeException">There is no such top, or the base is no image below it.</exception>
    /// <exception cref="SnapshotStateException">Internal snapshots would read other data; nothing is written.</exception>
    /// <exception cref="Qcow2FormatException">An image is broken, or a file ends before clusters that its image
    /// names; nothing is written then.</exception>
    /// <exception cref="BitmapStateException">The top is of version 2, holds no bitmaps, and so cannot say that one is
    /// not valid; nothing is written.</exception>
    /// <exception cref="Qcow2Exception">An image is broken, cannot be written, or has no room.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public static async Task<ChainResult> PullAsync(
        ImageChain chain, int? @base, RebaseOptions? options = null, IProgress<OperationProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        options ??= RebaseOptions.Default;
        ChainLayer top = RequireTop(chain, options);
        int end = @base ?? chain.Layers.Count;
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(end, top.Index, nameof(@base));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(end, chain.Layers.Count, nameof(@base));
        ChainDisk map = (await chain.OpenDataAsync(cancellationToken).ConfigureAwait(false)).From(top.Index);
        ChainLayer[] below = [.. chain.Layers.Skip(end)];
        await RequireNoLossesAsync(chain, null, below.FirstOrDefault(), options, cancellationToken).ConfigureAwait(false);
        await RequireRoomAsync(top, below, options, cancellationToken).ConfigureAwait(false);
        await SpaceCheck.RequireAsync(
            chain,
            top.Index,
            top.VirtualSizeBytes,
            (copy, depth) => PullAsync(copy, @base, options with { Rehearses = depth }, null, cancellationToken),
            cancellationToken).ConfigureAwait(false);
        List<BitmapChange> changes = await StoreBitsAsync(
            chain, map, [.. chain.Layers.Take(end).Skip(top.Index + 1)], end - top.Index, below, options,
            cancellationToken).ConfigureAwait(false);
        await RequireRoomAsync(top, below, options, cancellationToken).ConfigureAwait(false);
        ChainDisk? other = below.Length == 0 ? null : map.From(end - top.Index);
        long copied = await CopyAsync(
            chain, map, other, end - top.Index, int.MaxValue, options, progress, cancellationToken).ConfigureAwait(false);
        IReadOnlyList<BitmapVerdict> verdicts = await LaterChain.JudgeAsync(
            [.. chain.Layers.Take(top.Index + 1), .. below], changes, cancellationToken).ConfigureAwait(false);
        string? name = await SwitchAsync(top, below, options).ConfigureAwait(false);
        return new ChainResult(changes, copied) { Verdicts = verdicts, RebasedImage = top.Path, BackingFile = name };
    }

    /// <summary>
    /// Has the top image name another backing file, after copying what the guest would see differently:
    /// <c>qemu-img rebase</c>, the safe one.
    /// </summary>
    /// <param name="chain">The chain, with <see cref="WritableLayers"/> open for writing; to be closed afterwards.</param>
    /// <param name="backing">The chain that is to lie below; null for none. The images may be those of the chain.</param>
    /// <param name="options">How; the defaults when null.</param>
    /// <param name="progress">Is told how many bytes of the disk are done.</param>
    /// <param name="cancellationToken">Ends the work; the chain is valid then, and the rebase can be run again.</param>
    /// <returns>What became of the bitmaps, and how much was copied.</returns>
    /// <inheritdoc cref="PullAsync" path="/exception"/>
    public static async Task<ChainResult> RebaseAsync(
        ImageChain chain, ImageChain? backing, RebaseOptions? options = null, IProgress<OperationProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        options ??= RebaseOptions.Default;
        ChainLayer top = RequireTop(chain, options);
        ChainDisk map = (await chain.OpenDataAsync(cancellationToken).ConfigureAwait(false)).From(top.Index);
        ChainDisk? other = backing is null ? null : await backing.OpenDataAsync(cancellationToken).ConfigureAwait(false);
        IReadOnlyList<ChainLayer> below = backing?.Layers ?? [];
        if (below.FirstOrDefault(layer =>
            layer.Storage.Identity is { } identity
                && chain.Layers.Take(top.Index + 1).Any(above => above.Storage.Identity == identity)) is { } same)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.ChainLoop,
                $"'{top.Path}' would be its own backing file: its chain would lead to {same} of the new chain, "
                + $"which is the top or lies above it");
        }

        ChainLayer[] dropped = [.. chain.Layers.Skip(top.Index + 1)
            .Where(layer => layer.Storage.Identity is not { } identity || below.All(other => other.Storage.Identity != identity))];
        await RequireNoLossesAsync(chain, backing, below.Count > 0 ? below[0] : null, options, cancellationToken).ConfigureAwait(false);
        await RequireRoomAsync(top, below, options, cancellationToken).ConfigureAwait(false);
        await SpaceCheck.RequireAsync(
            chain,
            top.Index,
            top.VirtualSizeBytes,
            (copy, depth) => RebaseAsync(copy, backing, options with { Rehearses = depth }, null, cancellationToken),
            cancellationToken).ConfigureAwait(false);
        List<BitmapChange> changes = await StoreBitsAsync(
            chain, map, dropped, chain.Layers.Count, below, options, cancellationToken).ConfigureAwait(false);
        await RequireRoomAsync(top, below, options, cancellationToken).ConfigureAwait(false);
        long copied = await CopyAsync(
            chain, map, other, int.MaxValue, compareFromDepth: 1, options, progress, cancellationToken).ConfigureAwait(false);
        IReadOnlyList<BitmapVerdict> verdicts = await LaterChain.JudgeAsync(
            [.. chain.Layers.Take(top.Index + 1), .. below], changes, cancellationToken).ConfigureAwait(false);
        string? name = await SwitchAsync(top, below, options).ConfigureAwait(false);
        return new ChainResult(changes, copied) { Verdicts = verdicts, RebasedImage = top.Path, BackingFile = name };
    }

    /// <summary>Copies to the top image what would read differently over another backing file.</summary>
    /// <param name="chain">The chain.</param>
    /// <param name="map">Its map, from the top on down.</param>
    /// <param name="other">The map of what is to lie below; null for none.</param>
    /// <param name="skipFromDepth">From which image on down that is the same.</param>
    /// <param name="compareFromDepth">From which one on down it may be.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Is told how many bytes of the disk are done.</param>
    /// <param name="cancellationToken">Ends the copying.</param>
    /// <returns>How many bytes of the disk were written.</returns>
    private static async Task<long> CopyAsync(
        ImageChain chain, ChainDisk map, ChainDisk? other, int skipFromDepth, int compareFromDepth, RebaseOptions options,
        IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        GuestWriter writer = await chain.OpenWriterAsync(
            options.Top, marksWrites: false, cancellationToken, getsBacking: other is not null).ConfigureAwait(false);
        await using (writer.ConfigureAwait(false))
        {
            var engine = new CopyEngine(
                writer, new ConversionOptions { Workers = options.Workers, Rehearses = options.Rehearses }, progress, other?.SizeBytes ?? 0,
                there: (Disk?)other ?? RawDisk.Empty);
            await engine.RunAsync(
                new CopyScope(map) { SkipFromDepth = skipFromDepth, CompareFromDepth = compareFromDepth, CopyFromDepth = 1 },
                cancellationToken).ConfigureAwait(false);
            await writer.FlushAsync(cancellationToken).ConfigureAwait(false);
            return engine.WrittenBytes;
        }
    }

    private static async ValueTask RequireNoLossesAsync(
        ImageChain chain, ImageChain? other, ChainLayer? backing, RebaseOptions options, CancellationToken cancellationToken)
    {
        if (options.AcceptsLosses)
        {
            return;
        }

        ChangedSnapshots.RequireNone(FindChangedSnapshots(chain, options.Top, backing));
        await chain.RequireWholeAsync(withDataFiles: true, cancellationToken).ConfigureAwait(false);
        if (other is not null)
        {
            await other.RequireWholeAsync(withDataFiles: true, cancellationToken).ConfigureAwait(false);
        }
    }

    private static ChainLayer RequireTop(ImageChain chain, RebaseOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(options.Top, nameof(options));
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(options.Top, chain.Layers.Count, nameof(options));
        ChainLayer top = chain.Layers[options.Top];
        return top is RawLayer
            ? throw new Qcow2UnsupportedException(UnsupportedReason.Format, $"'{top.Path}' is raw: it has no backing file")
            : top;
    }

    private static async ValueTask<List<BitmapChange>> StoreBitsAsync(
        ImageChain chain, ChainDisk map, ChainLayer[] dropped, int endDepth, IReadOnlyList<ChainLayer> below, RebaseOptions options,
        CancellationToken cancellationToken)
    {
        ChainLayer top = chain.Layers[options.Top];
        var changes = new List<BitmapChange>();
        if (dropped.Length == 0
            || chain.Layers.Take(top.Index + 1).Concat(DroppedImages.Newcomers(chain, below)).All(static layer => !layer.Bitmaps.Any()))
        {
            return changes;
        }

        long granularity = top.RequireImage().Bitmaps
            .Select(static bitmap => bitmap.GranularityBytes)
            .DefaultIfEmpty(DefaultGranularityBytes)
            .Min();
        (_, DirtyBitmap hides) = await SubchainRanges.CollectAsync(
            map, endDepth, top.VirtualSizeBytes, granularity, cancellationToken).ConfigureAwait(false);
        BitmapEdit edit = await DroppedImages.PlanAsync(
            chain, top, dropped, [top, .. below], hides, options.Gaps, changes, cancellationToken).ConfigureAwait(false);
        await Overhangs.MarkAsync(chain, OverhangsAbove(chain, top.Index), dropped, changes, cancellationToken).ConfigureAwait(false);
        await top.RequireImage().Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
        return changes;
    }

    private static IEnumerable<(int Layer, long Start, long End)> OverhangsAbove(ImageChain chain, int top) =>
        Overhangs.Find(chain, top, chain.Layers.Skip(top + 1).Select(static layer => layer.VirtualSizeBytes).DefaultIfEmpty().Max());

    /// <summary>Refuses, before anything is copied, a header that cannot take the new name.</summary>
    private static async ValueTask RequireRoomAsync(
        ChainLayer top, IReadOnlyList<ChainLayer> below, RebaseOptions options, CancellationToken cancellationToken)
    {
        (string? name, string format) = NameOf(top, below, options);
        await BackingChange.RequireRoomAsync(top.RequireImage().Handle, name, format, cancellationToken).ConfigureAwait(false);
    }

    private static async ValueTask<string?> SwitchAsync(ChainLayer top, IReadOnlyList<ChainLayer> below, RebaseOptions options)
    {
        (string? name, string format) = NameOf(top, below, options);
        await top.RequireImage().SetBackingFileAsync(name, format, CancellationToken.None).ConfigureAwait(false);
        return name;
    }

    private static (string? Name, string Format) NameOf(ChainLayer top, IReadOnlyList<ChainLayer> below, RebaseOptions options) =>
        below.Count == 0
        ? (null, ImageFormat.Raw)
        : (below[0].NameIn(top.Path, options.BackingFile), below[0].Format);
}
