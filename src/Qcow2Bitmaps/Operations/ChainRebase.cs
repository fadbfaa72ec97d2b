using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;

namespace Qcow2Bitmaps.Operations;

/// <summary>Gives the top image another backing file, so that the guest sees the same: by pulling what lies between, or by copying what differs.</summary>
/// <remarks>
/// <para>
/// First the top image's bitmaps get what the images recorded that leave the chain, in one atomic edit; then the data are copied; then the header names the other backing file. At each moment
/// the guest sees the same, and what was valid is valid; stopped anywhere, the operation is run again and ends right.
/// </para>
/// <para>A bitmap that is not valid and would look valid without those images gets what they have, or is disabled (<see cref="RebaseOptions.Gaps"/>). What is copied is not marked: it is no change.</para>
/// </remarks>
public static class ChainRebase
{
    /// <summary>Pulls what the images between have into the top image.</summary>
    /// <param name="chain">The chain, its top image open for writing; to be closed afterwards.</param>
    /// <param name="base">The index of the image that is to be the backing file; null for none.</param>
    /// <param name="options">How; the defaults when null.</param>
    /// <param name="progress">Is told how many bytes of the disk are done.</param>
    /// <param name="cancellationToken">Ends the work; the chain is valid then, and the pull can be run again.</param>
    /// <returns>What became of the bitmaps, and how much was copied.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The base is no image below the top.</exception>
    /// <exception cref="Qcow2Exception">An image is broken, cannot be written, or has no room.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public static async Task<ChainResult> PullAsync(
        ImageChain chain, int? @base, RebaseOptions? options = null, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        int end = @base ?? chain.Layers.Count;
        ArgumentOutOfRangeException.ThrowIfLessThan(end, 1, nameof(@base));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(end, chain.Layers.Count, nameof(@base));
        options ??= RebaseOptions.Default;
        RequireQcow2(chain);
        ChainMap map = await chain.OpenDataAsync(cancellationToken).ConfigureAwait(false);
        ChainLayer[] below = [.. chain.Layers.Skip(end)];
        await RequireRoomAsync(chain, below, options, cancellationToken).ConfigureAwait(false);
        await SpaceCheck.RequireAsync(
            chain,
            0,
            chain.Layers[0].VirtualSizeBytes,
            (copy, depth) => PullAsync(copy, @base, options with { Rehearses = depth }, null, cancellationToken),
            cancellationToken).ConfigureAwait(false);
        List<BitmapChange> changes = await StoreBitsAsync(chain, map, [.. chain.Layers.Take(end).Skip(1)], end, below, options, cancellationToken).ConfigureAwait(false);
        GuestWriter writer = await chain.OpenWriterAsync(0, marksWrites: false, cancellationToken).ConfigureAwait(false);
        var target = new LayerTarget(writer, chain.Layers[0].Storage, chain.Layers[0].Image, below.Length == 0 ? 0 : below[0].VirtualSizeBytes);
        await using (target.ConfigureAwait(false))
        {
            var engine = new CopyEngine(target, new ConversionOptions { Workers = options.Workers, Rehearses = options.Rehearses }, progress);
            await engine.RunAsync([map], end, int.MaxValue, cancellationToken, copyFromDepth: 1).ConfigureAwait(false);
            await target.CompleteAsync([], cancellationToken).ConfigureAwait(false);
        }

        string? name = await SwitchAsync(chain, below, options).ConfigureAwait(false);
        return new ChainResult(changes, target.WrittenBytes) { RebasedImage = chain.Layers[0].Path, BackingFile = name };
    }

    /// <summary>Has the top image name another backing file, after copying what the guest would see differently: <c>qemu-img rebase</c>, the safe one.</summary>
    /// <param name="chain">The chain, its top image open for writing; to be closed afterwards.</param>
    /// <param name="backing">The chain that is to lie below; null for none. The images may be those of the chain.</param>
    /// <param name="options">How; the defaults when null.</param>
    /// <param name="progress">Is told how many bytes of the disk are done.</param>
    /// <param name="cancellationToken">Ends the work; the chain is valid then, and the rebase can be run again.</param>
    /// <returns>What became of the bitmaps, and how much was copied.</returns>
    /// <inheritdoc cref="PullAsync" path="/exception"/>
    public static async Task<ChainResult> RebaseAsync(
        ImageChain chain, ImageChain? backing, RebaseOptions? options = null, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        options ??= RebaseOptions.Default;
        RequireQcow2(chain);
        ChainMap map = await chain.OpenDataAsync(cancellationToken).ConfigureAwait(false);
        ChainMap? other = backing is null ? null : await backing.OpenDataAsync(cancellationToken).ConfigureAwait(false);
        IReadOnlyList<ChainLayer> below = backing?.Layers ?? [];
        if (below.FirstOrDefault(layer => layer.Storage.Identity is { } identity && identity == chain.Layers[0].Storage.Identity) is { } same)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.ChainLoop, $"'{PrintableText.Escape(chain.Layers[0].Path)}' would be its own backing file: it is {PrintableText.Escape(same.ToString())} of the new chain");
        }

        ChainLayer[] dropped = [.. chain.Layers.Skip(1).Where(layer => layer.Storage.Identity is not { } identity || below.All(other => other.Storage.Identity != identity))];
        await RequireRoomAsync(chain, below, options, cancellationToken).ConfigureAwait(false);
        await SpaceCheck.RequireAsync(
            chain,
            0,
            chain.Layers[0].VirtualSizeBytes,
            (copy, depth) => RebaseAsync(copy, backing, options with { Rehearses = depth }, null, cancellationToken),
            cancellationToken).ConfigureAwait(false);
        List<BitmapChange> changes = await StoreBitsAsync(chain, map, dropped, chain.Layers.Count, below, options, cancellationToken).ConfigureAwait(false);
        GuestWriter writer = await chain.OpenWriterAsync(0, marksWrites: false, cancellationToken).ConfigureAwait(false);
        var target = new RebaseTarget(writer, chain.Layers[0].Image!, other);
        await using (target.ConfigureAwait(false))
        {
            var engine = new CopyEngine(target, new ConversionOptions { Workers = options.Workers, Rehearses = options.Rehearses }, progress);
            await engine.RunAsync([map], int.MaxValue, compareFromDepth: 1, cancellationToken, copyFromDepth: 1).ConfigureAwait(false);
            await target.CompleteAsync([], cancellationToken).ConfigureAwait(false);
        }

        string? name = await SwitchAsync(chain, below, options).ConfigureAwait(false);
        return new ChainResult(changes, target.WrittenBytes) { RebasedImage = chain.Layers[0].Path, BackingFile = name };
    }

    private static void RequireQcow2(ImageChain chain)
    {
        if (chain.Layers[0].Image is null)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.Format, $"'{PrintableText.Escape(chain.Layers[0].Path)}' is raw: it has no backing file");
        }
    }

    private static async ValueTask<List<BitmapChange>> StoreBitsAsync(
        ImageChain chain, ChainMap map, ChainLayer[] dropped, int endDepth, IReadOnlyList<ChainLayer> below, RebaseOptions options, CancellationToken cancellationToken)
    {
        Qcow2Image top = chain.Layers[0].Image!;
        var changes = new List<BitmapChange>();
        if (top.Bitmaps.Count == 0 || dropped.Length == 0)
        {
            return changes;
        }

        long granularity = top.Bitmaps.Min(static bitmap => bitmap.GranularityBytes);
        long longestBelow = chain.Layers.Skip(1).Max(static layer => layer.VirtualSizeBytes);
        (_, DirtyBitmap hides) = await SubchainRanges.CollectAsync(
            map, endDepth, top.VirtualSizeBytes, granularity, cancellationToken, hiddenEndBytes: longestBelow).ConfigureAwait(false);
        BitmapEdit edit = await DroppedImages.PlanAsync(chain, dropped, [chain.Layers[0], .. below], hides, options.Gaps, changes, cancellationToken).ConfigureAwait(false);
        await top.Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
        return changes;
    }

    /// <summary>Refuses, before anything is written, a header that cannot take the new name.</summary>
    private static async ValueTask RequireRoomAsync(ImageChain chain, IReadOnlyList<ChainLayer> below, RebaseOptions options, CancellationToken cancellationToken)
    {
        (string? name, string format) = NameOf(chain, below, options);
        if (!chain.Layers[0].Image!.Header.IncompatibleFeatures.HasFlag(IncompatibleFeatures.Dirty))
        {
            await chain.Layers[0].Image!.PlanBackingFileAsync(name, format, cancellationToken).ConfigureAwait(false);
        }
    }

    private static async ValueTask<string?> SwitchAsync(ImageChain chain, IReadOnlyList<ChainLayer> below, RebaseOptions options)
    {
        (string? name, string format) = NameOf(chain, below, options);
        await chain.Layers[0].Image!.SetBackingFileAsync(name, format, CancellationToken.None).ConfigureAwait(false);
        return name;
    }

    private static (string? Name, string Format) NameOf(ImageChain chain, IReadOnlyList<ChainLayer> below, RebaseOptions options) => below.Count == 0
        ? (null, ImageFormat.Raw)
        : (options.BackingFile ?? RelativeName.Of(below[0].Path, chain.Layers[0].Path), below[0].Format);
}
