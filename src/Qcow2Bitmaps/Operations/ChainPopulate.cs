using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Operations;

/// <summary>
/// Rebuilds a bitmap from the images' allocation if it is missing in upper images, has a gap, or is inconsistent after a crash.
/// </summary>
/// <remarks>
/// Image by image from the bottom up, each by one atomic edit; afterwards the bitmap is valid over the chain, and not before the last one.
/// An overlay has only what was written since it was made, and what was zeroed or discarded stays allocated as zeros; so all that it has is
/// a superset of its changes. That holds for version 3 images with a backing file and without internal snapshots (one may have been
/// applied). An image without a backing file gives clusters up: there only "everything changed" is true.
/// <para>
/// Clusters that broken entries of a bitmap's table named are leaked, not freed: such an entry may name anything, a cluster of the guest's
/// too, and only a check counts every use in the image. A repair of leaks frees them.
/// </para>
/// </remarks>
public sealed class ChainPopulate : ChainOperation
{
    private readonly string _name;
    private readonly string? _since;
    private readonly bool _allDirty;
    private readonly bool _trustsBirth;
    private int _topmost;

    internal ChainPopulate(ImageChain chain, string name, bool allDirty = false, bool trustsBirth = false)
        : base(chain)
    {
        _name = name ?? throw new ArgumentNullException(nameof(name));
        _allDirty = allDirty;
        _trustsBirth = trustsBirth;
    }

    internal ChainPopulate(ImageChain chain, string name, string since)
        : this(chain, name) => _since = since ?? throw new ArgumentNullException(nameof(since));

    private protected override int TargetIndex => _topmost;

    /// <summary>Opens a chain to rebuild a bitmap.</summary>
    /// <param name="topPath">The top image.</param>
    /// <param name="name">The bitmap's name.</param>
    /// <param name="allDirty">Whether the whole image counts as changed if its allocation does not show its changes; otherwise
    /// that is an error.</param>
    /// <param name="trustsBirth">
    /// Whether the lowest image that holds the bitmap, where it was created, is trusted to still contain everything written to it, if the
    /// bitmap is not usable there. That is false if the image was committed and emptied, or rebased, since, which nothing shows: then this
    /// would lose changes. Without this option, the whole image has to count as changed.
    /// </param>
    /// <param name="open">How the chain is opened; the defaults when null. Which images are writable follows from the bitmap.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <exception cref="BitmapStateException">No image holds the bitmap.</exception>
    /// <inheritdoc cref="ChainSnapshot.OpenAsync" path="/exception"/>
    public static Task<ChainPopulate> OpenAsync(
        string topPath, string name, bool allDirty = false, bool trustsBirth = false, ChainOpenOptions? open = null,
        CancellationToken cancellationToken = default) =>
        OpenAsync(
            topPath, open, isReadOnly: false, chain => new ChainPopulate(chain, name, allDirty, trustsBirth), cancellationToken);

    /// <summary>
    /// Opens a chain to rebuild a bitmap that no image holds, as it was lost with a program's memory in a crash, from one that is older:
    /// the top image gets it, by one atomic edit, with all that changed since that one. That it is older no image tells: the caller vouches
    /// for it.
    /// </summary>
    /// <param name="topPath">The top image.</param>
    /// <param name="name">The name of the lost bitmap.</param>
    /// <param name="since">The name of a valid bitmap that was created, and last cleared, before the lost one was created.</param>
    /// <param name="open">How the chain is opened; the defaults when null. The top image is writable.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <inheritdoc cref="ChainSnapshot.OpenAsync" path="/exception"/>
    public static Task<ChainPopulate> OpenSinceAsync(
        string topPath, string name, string since, ChainOpenOptions? open = null, CancellationToken cancellationToken = default) =>
        OpenAsync(topPath, open, isReadOnly: false, chain => new ChainPopulate(chain, name, since), cancellationToken);

    /// <summary>
    /// The images that need their bitmap rebuilt: those from the one where it was born, the lowest that holds it, up to the top that hold
    /// no usable one. From the bottom up; none where the bitmap is valid.
    /// </summary>
    /// <exception cref="BitmapStateException">No image holds the bitmap.</exception>
    internal override async ValueTask<IReadOnlyList<int>> FindWritableLayersAsync(CancellationToken cancellationToken)
    {
        if (_since is not null)
        {
            return [0];
        }

        if (RebuildRules.FindBirth(Chain.Layers, _name) is null)
        {
            throw new BitmapStateException(
                _name, $"Dirty bitmap '{_name}' not found in any image of the chain: since when changes count nobody knows")
            {
                Remedy = Remedy.PopulateSince,
            };
        }

        return [.. (await RebuildRules.FindUnusableAsync(Chain.Layers, _name, cancellationToken).ConfigureAwait(false))
            .Select(static layer => layer.Index)];
    }

    internal override ChainOperation On(ImageChain standIn, MeasureDepth depth) => _since is null
        ? new ChainPopulate(standIn, _name, _allDirty, _trustsBirth)
        : new ChainPopulate(standIn, _name, _since);

    private protected override async Task<ChainMeasurement> MeasureCoreAsync(MeasureDepth depth, CancellationToken cancellationToken)
    {
        _topmost = (await FindWritableLayersAsync(cancellationToken).ConfigureAwait(false)).DefaultIfEmpty().Last();
        return await base.MeasureCoreAsync(MeasureDepth.Data, cancellationToken).ConfigureAwait(false);
    }

    private protected override async Task<ChainResult> DoAsync(IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        if (_since is not null)
        {
            return new ChainResult([await RebuildSinceAsync(_since, cancellationToken).ConfigureAwait(false)]);
        }

        IReadOnlyList<int> images = await FindWritableLayersAsync(cancellationToken).ConfigureAwait(false);
        foreach (int index in images)
        {
            RequireRebuildable(Chain.Layers[index]);
        }

        // If a table is missing, its content is unknown.
        await Chain.RequireWholeAsync(withDataFiles: false, cancellationToken).ConfigureAwait(false);
        await SpaceCheck.RequireAllAsync(this, images, cancellationToken).ConfigureAwait(false);
        var changes = new List<BitmapChange>();
        long granularityBytes = GranularityIn(Birth, _name);
        foreach (int index in images)
        {
            changes.Add(await RebuildAsync(Chain.Layers[index], granularityBytes, cancellationToken).ConfigureAwait(false));
        }

        return new ChainResult(changes);
    }

    /// <summary>Marks everything that is allocated in an image itself.</summary>
    internal static async ValueTask MarkAllocatedAsync(ImageChain chain, int index, DirtyBitmap bits, CancellationToken cancellationToken)
    {
        await foreach (DiskExtent extent in chain.ListOwnAsync(index, cancellationToken).ConfigureAwait(false))
        {
            if (extent.Kind != ExtentKind.Unallocated && extent.OffsetBytes < bits.SizeBytes)
            {
                bits.Set(extent.OffsetBytes, Math.Min(extent.LengthBytes, bits.SizeBytes - extent.OffsetBytes));
            }
        }
    }

    private ChainLayer Birth => RebuildRules.FindBirth(Chain.Layers, _name)!;

    private void RequireRebuildable(ChainLayer layer)
    {
        if (RebuildRules.WhyImpossible(layer) is { } impossible)
        {
            throw new BitmapStateException(_name, $"Bitmap '{_name}' cannot be rebuilt in {layer}: {impossible}");
        }

        if (!_allDirty && WhyUntold(layer) is { } unsound)
        {
            throw new BitmapStateException(_name, $"Bitmap '{_name}' cannot be rebuilt from what {layer} has: {unsound}")
            {
                Remedy = RebuildRules.WhyUnsound(layer) is null ? Remedy.TrustBirth : Remedy.PopulateAllDirty,
            };
        }
    }

    private string? WhyUntold(ChainLayer layer) => RebuildRules.WhyUnsound(layer)
        ?? (layer == Birth && !_trustsBirth
            ? "the bitmap was added there, and if the image was committed and emptied, or rebased, since then, "
                + "it no longer holds what was written to it"
            : null);

    private async ValueTask<BitmapChange> RebuildAsync(ChainLayer layer, long granularityBytes, CancellationToken cancellationToken)
    {
        Qcow2Image image = layer.RequireImage();
        bool isSound = WhyUntold(layer) is null;
        if (image.Bitmaps.TryGet(_name, out BitmapInfo? old))
        {
            granularityBytes = old.GranularityBytes;
        }

        var bits = new DirtyBitmap(layer.VirtualSizeBytes, granularityBytes);
        if (old is not null)
        {
            // Where it cannot be read there is nothing to keep.
            await StoredBits.TryReadAsync(image, old, bits, cancellationToken).ConfigureAwait(false);
        }

        if (isSound)
        {
            await MarkAllocatedAsync(Chain, layer.Index, bits, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            bits.SetAll();
        }

        BitmapEdit edit = new BitmapEdit().Replace(_name, granularityBytes, isRecording: true).Merge(bits, _name);
        await image.Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
        return new BitmapChange(
            _name, BitmapChangeKind.Populated, layer.Path,
            $"{bits.Count().Bytes} bytes {(isSound ? "are allocated" : "are all there is")}");
    }

    private async ValueTask<BitmapChange> RebuildSinceAsync(string since, CancellationToken cancellationToken)
    {
        ChainLayer top = Chain.Layers[0];
        if (RebuildRules.FindBirth(Chain.Layers, _name) is { } holder)
        {
            throw new BitmapStateException(_name, $"{holder} holds bitmap '{_name}'") { Remedy = Remedy.Populate };
        }

        if (RebuildRules.WhyImpossible(top) is { } impossible)
        {
            throw new BitmapStateException(_name, $"Bitmap '{_name}' cannot be made in {top}: {impossible}");
        }

        // Once an edit has extended the file, missing parts can no longer be detected.
        await Chain.RequireWholeAsync(withDataFiles: false, cancellationToken).ConfigureAwait(false);
        await SpaceCheck.RequireAllAsync(this, [0], cancellationToken).ConfigureAwait(false);
        BitmapVerdict verdict = await Chain.JudgeBitmapAsync(since, cancellationToken: cancellationToken).ConfigureAwait(false);
        if (!verdict.IsValid)
        {
            throw new BitmapStateException(verdict);
        }

        var bits = new DirtyBitmap(top.VirtualSizeBytes, GranularityIn(top, since));
        await foreach (DirtyExtent extent in Chain.ReadExtentsAsync(since, cancellationToken: cancellationToken).ConfigureAwait(false))
        {
            bits.Set(extent.OffsetBytes, extent.LengthBytes);
        }

        var edit = new BitmapEdit();
        edit.AddCarried(_name, bits.GranularityBytes).Merge(bits, _name);
        await top.RequireImage().Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
        return new BitmapChange(
            _name,
            BitmapChangeKind.Populated,
            top.Path,
            PrintableMessage.Of(
                $"{bits.Count().Bytes} bytes changed since '{since}', which must have been added, and last cleared, before it: "
                + $"you vouch for that"));
    }

    private static long GranularityIn(ChainLayer layer, string name)
    {
        _ = layer.RequireImage().Bitmaps.TryGet(name, out BitmapInfo? bitmap);
        return bitmap!.GranularityBytes;
    }
}
