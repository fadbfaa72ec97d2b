using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Images.Naming;

namespace Qcow2Bitmaps.Operations;

/// <summary>
/// Changes an image's backing file without changing what the guest sees: by pulling the data in between, or by copying what differs.
/// </summary>
/// <remarks>
/// <para>
/// The image is the chain's top, or with <see cref="MergeOptions.TopPath"/> one below it; it is called the top here. First its bitmaps get
/// what the images recorded that leave the chain, in one atomic edit; then the data are copied; then the header names the other backing
/// file. At each moment the guest sees the same, and what was valid is valid; stopped anywhere, the operation is run again and ends right.
/// </para>
/// <para>A bitmap that is not valid and would look valid without those images gets what they have, or is disabled
/// (<see cref="MergeOptions.DisablesGaps"/>). What is copied is not marked: it is no change.</para>
/// <para>
/// Images above the top: if they and leaving images hold bits of a bitmap, and the top does not, the bitmap is created in the
/// top, disabled, so that it does not look complete. If the top is shorter than leaving images, what it hides of them is marked
/// in longer images above it.
/// </para>
/// </remarks>
public sealed class ChainRebase : ChainOperation
{
    private readonly MergeOptions _options;
    private readonly ChainLayer _top;
    // Of a pull: the index of the first image that stays; the number of images where none does.
    private readonly int? _end;
    private ChainRebase(ImageChain chain, int top, MergeOptions? options)
        : base(chain)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(top);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(top, chain.Layers.Count);
        _top = chain.Layers[top];
        _options = options ?? new MergeOptions();
    }

    /// <summary>A pull, over a chain that is open.</summary>
    internal ChainRebase(ImageChain chain, int top, int? backing, MergeOptions? options = null)
        : this(chain, top, options) => _end = backing ?? chain.Layers.Count;

    /// <summary>A rebase, over chains that are open.</summary>
    internal ChainRebase(ImageChain chain, int top, ImageChain? backing, MergeOptions? options = null)
        : this(chain, top, options) => BaseChain = backing;

    /// <summary>Of a rebase: the chain that is to lie below the top, closed with the operation; null for none.</summary>
    public ImageChain? BaseChain { get; private set; }

    private protected override int TargetIndex => _top.Index;

    /// <summary>The top, whose overlays would lose the record of images that leave.</summary>
    private protected override IEnumerable<int> ExposedLayers =>
        Chain.Layers.Take(_end ?? Chain.Layers.Count).Skip(_top.Index + 1).Any(static layer => layer.Bitmaps.Any()) ? [_top.Index] : [];

    /// <summary>The images that lie below the top afterwards.</summary>
    private IReadOnlyList<ChainLayer> Below => _end is { } end ? [.. Chain.Layers.Skip(end)] : BaseChain?.Layers ?? [];

    /// <summary>The chain as it will be, from the active image down.</summary>
    private IEnumerable<ChainLayer> Later => [.. Chain.Layers.Take(_top.Index + 1), .. Below];

    private IEnumerable<(int Layer, long Start, long End)> OverhangsAbove => Overhangs.Find(
        Chain, _top.Index, Chain.Layers.Skip(_top.Index + 1).Select(static layer => layer.VirtualSizeBytes).DefaultIfEmpty().Max());

    /// <summary>Opens the chain of a pull: the top gets what the images between it and the base have.</summary>
    /// <param name="activePath">The top image of the whole chain.</param>
    /// <param name="options">Which image pulls, down to which one, and how.</param>
    /// <param name="open">How the chain is opened; the defaults when null. Which images are writable follows from the pull.</param>
    /// <param name="isReadOnly">Whether it is only to be looked at or measured: then no image is opened for writing.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The pull. Running it is refused where the base does not lie below the top.</returns>
    /// <exception cref="ImageLockedException">Another process uses one of the images in a way that excludes this.</exception>
    /// <exception cref="IOException">A file cannot be opened, or is no image of the chain.</exception>
    public static Task<ChainRebase> OpenPullAsync(
        string activePath, MergeOptions options, ChainOpenOptions? open = null, bool isReadOnly = false,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        return OpenAsync(
            activePath,
            open,
            isReadOnly,
            chain => new ChainRebase(
                chain, TopOf(chain, options), options.BasePath is null ? null : IndexOf(chain, options.BasePath), options),
            cancellationToken);
    }

    /// <summary>
    /// Opens the chains of a safe rebase: <c>qemu-img rebase</c>, which copies to the top what would read differently over the base.
    /// </summary>
    /// <param name="activePath">The top image of the whole chain.</param>
    /// <param name="options">Which image gets which backing file, of this chain or of another one, and how.</param>
    /// <param name="open">How the chain is opened; the defaults when null. Which images are writable follows from the rebase.</param>
    /// <param name="openBase">How the chain of the base is opened. When null, as the other one, without its top's format and snapshot: a
    /// base that is no image of that chain must be qcow2 then, as a format that was only guessed must not be stored.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <exception cref="Qcow2UnsupportedException">The new name starts with a protocol.</exception>
    /// <exception cref="ImageLockedException">Another process uses one of the images in a way that excludes this.</exception>
    /// <exception cref="IOException">A file cannot be opened, or the top is no image of the chain.</exception>
    public static async Task<ChainRebase> OpenRebaseAsync(
        string activePath, MergeOptions options, ChainOpenOptions? open = null, ChainOpenOptions? openBase = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        Images.Naming.StoredName.RequireFile(options.BackingFile ?? "");
        ChainRebase rebase = await OpenAsync(
            activePath, open, isReadOnly: false, chain => new ChainRebase(chain, TopOf(chain, options), options),
            cancellationToken).ConfigureAwait(false);
        try
        {
            rebase.BaseChain = options.BasePath is null
                ? null
                : await ImageChain.OpenAsync(
                    options.BasePath, openBase ?? OptionsOfBase(rebase.Chain, options.BasePath, open), cancellationToken)
                    .ConfigureAwait(false);
            return rebase;
        }
        catch
        {
            await rebase.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    internal override ValueTask<IReadOnlyList<int>> FindWritableLayersAsync(CancellationToken cancellationToken) =>
        ValueTask.FromResult<IReadOnlyList<int>>([.. OverhangsAbove.Select(static overhang => overhang.Layer), _top.Index]);

    internal override ChainOperation On(ImageChain standIn, MeasureDepth depth) => _end is not null
        ? new ChainRebase(standIn, _top.Index, _end, _options with { Rehearses = depth })
        : new ChainRebase(standIn, _top.Index, BaseChain, _options with { Rehearses = depth });

    /// <summary>Those of the top alone, and not where its backing file stays the same.</summary>
    private protected override IEnumerable<ChangedSnapshots> FindChangedSnapshots()
    {
        ChainLayer? now = Chain.Layers.ElementAtOrDefault(_top.Index + 1);
        ChainLayer? later = Below.Count > 0 ? Below[0] : null;
        bool stays = ReferenceEquals(now, later) || (now?.Storage.Key is { } identity && later?.Storage.Key == identity);
        return stays ? [] : Operations.ChangedSnapshots.Of([_top]);
    }

    private protected override async Task<ChainResult> DoAsync(IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        RequireOrder();
        ChainDisk map = (await Chain.OpenDataAsync(cancellationToken).ConfigureAwait(false)).From(_top.Index);
        ChainDisk? other = BaseChain is not null ? await BaseChain.OpenDataAsync(cancellationToken).ConfigureAwait(false)
            : _end < Chain.Layers.Count ? map.From(_end.Value - _top.Index)
            : null;
        if (!_options.AcceptsLosses)
        {
            await RequireNoLossesAsync(cancellationToken).ConfigureAwait(false);
            if (BaseChain is not null)
            {
                await BaseChain.RequireWholeAsync(withDataFiles: true, cancellationToken).ConfigureAwait(false);
            }
        }

        await RequireRoomForNameAsync(cancellationToken).ConfigureAwait(false);
        await SpaceCheck.RequireAsync(this, _top.Index, _top.VirtualSizeBytes, cancellationToken).ConfigureAwait(false);
        ChainLayer[] dropped = [.. Chain.Layers.Skip(_top.Index + 1)
            .Where(layer => _end is { } end ? layer.Index < end
                : layer.Storage.Key is not { } identity || Below.All(other => other.Storage.Key != identity))];
        IReadOnlyList<BitmapChange> changes = await new DroppedImages(Chain, _top, dropped, Below, _options.DisablesGaps).StoreAsync(
            map, (_end - _top.Index) ?? Chain.Layers.Count, OverhangsAbove, cancellationToken).ConfigureAwait(false);
        await RequireRoomForNameAsync(cancellationToken).ConfigureAwait(false);
        long copied = await CopyAsync(map, other, progress, cancellationToken).ConfigureAwait(false);
        IReadOnlyList<BitmapVerdict> verdicts = await LaterChain.JudgeAsync(Later, changes, cancellationToken).ConfigureAwait(false);
        (string? name, string format) = StoredName;
        await _top.RequireImage().SetBackingFileAsync(name, format, CancellationToken.None).ConfigureAwait(false);
        return new ChainResult(changes, copied) { Verdicts = verdicts, RebasedImage = _top.Path, BackingFile = name };
    }

    private protected override async ValueTask DisposeCoreAsync()
    {
        try
        {
            await base.DisposeCoreAsync().ConfigureAwait(false);
        }
        finally
        {
            if (BaseChain is not null)
            {
                await BaseChain.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    /// <summary>How the top is to name its backing file. Only where the top is no raw image.</summary>
    private (string? Name, string Format) StoredName =>
        Below is [{ } below, ..] ? (below.NameIn(_top.Path, _options.BackingFile), below.Format) : (null, ImageFormat.Raw);

    private void RequireOrder()
    {
        if (_top is RawLayer)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.Format, $"'{_top.Path}' is raw: it has no backing file");
        }

        if (_end is { } end)
        {
            if (end <= _top.Index)
            {
                throw IOException.Of($"'{Chain.Layers[end].Path}' does not lie below '{_top.Path}'");
            }
        }
        else if (Below.FirstOrDefault(layer => layer.Storage.Key is { } identity
            && Chain.Layers.Take(_top.Index + 1).Any(above => above.Storage.Key == identity)) is { } same)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.ChainLoop,
                $"'{_top.Path}' would be its own backing file: its chain would lead to {same} of the new chain, "
                + $"which is the top or lies above it");
        }
    }

    /// <summary>Throws, before anything is copied, if the header has no space for the new name.</summary>
    private async ValueTask RequireRoomForNameAsync(CancellationToken cancellationToken)
    {
        (string? name, string format) = StoredName;
        await BackingChange.RequireRoomAsync(_top.RequireImage().Handle, name, format, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Copies to the top what would read differently over the other disk, and tells how many bytes that are.</summary>
    private async Task<long> CopyAsync(
        ChainDisk map, ChainDisk? other, IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        GuestWriter writer = await Chain.OpenWriterAsync(
            _top.Index, marksWrites: false, cancellationToken, getsBacking: other is not null).ConfigureAwait(false);
        await using (writer.ConfigureAwait(false))
        {
            var engine = new CopyEngine(
                writer, _options.Copying, progress, other?.SizeBytes ?? 0, there: (Disk?)other ?? RawDisk.Empty);
            // Images below a pull's base stay the same ones; of a rebase any may read the same.
            var scope = new CopyScope(map) { CopyFromDepth = 1 };
            scope = _end is { } end ? scope with { SkipFromDepth = end - _top.Index } : scope with { CompareFromDepth = 1 };
            await engine.RunAsync(scope, cancellationToken).ConfigureAwait(false);
            await writer.FlushAsync(cancellationToken).ConfigureAwait(false);
            return engine.WrittenBytes;
        }
    }

    private static ChainOpenOptions OptionsOfBase(ImageChain chain, string path, ChainOpenOptions? open) =>
        (open ?? new ChainOpenOptions()) with
        {
            TopFormat = chain.IndexOf(path) is { } index ? chain.Layers[index].Format : ImageFormat.Qcow2,
            TopSnapshot = null,
            WritableLayers = [],
        };

    private static int TopOf(ImageChain chain, MergeOptions options) => options.TopPath is null ? 0 : IndexOf(chain, options.TopPath);
}
