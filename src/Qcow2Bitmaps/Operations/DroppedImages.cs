using Qcow2Bitmaps.Chains;

namespace Qcow2Bitmaps.Operations;

/// <summary>Has an image's bitmaps know what images recorded that are about to leave the chain.</summary>
/// <param name="chain">The chain as it is.</param>
/// <param name="top">The image from which they leave; there may be others above it.</param>
/// <param name="dropped">The images that leave it.</param>
/// <param name="below">The images that lie below the top afterwards.</param>
internal sealed class DroppedImages(
    ImageChain chain, ChainLayer top, IReadOnlyList<ChainLayer> dropped, IReadOnlyList<ChainLayer> below)
{
    private readonly BitmapEdit _edit = new();

    /// <summary>The images of the new chain that are none of the old one: their bitmaps record another disk's changes.</summary>
    public IEnumerable<ChainLayer> Newcomers => below
        .Where(layer =>
            !chain.Layers.Any(
                old => ReferenceEquals(old, layer) || (layer.Storage.Identity is { } identity && old.Storage.Identity == identity)));

    /// <summary>
    /// The bitmaps that images which leave hold, and the top does not, though images above it or of the new chain do: what those hold would
    /// look like all there is, at once or once it is populated.
    /// </summary>
    private IEnumerable<BitmapInfo> LostBitmaps
    {
        get
        {
            ChainLayer[] others = [.. chain.Layers.Take(top.Index), .. Newcomers];
            return dropped
                .SelectMany(static layer => layer.Bitmaps)
                .DistinctBy(static bitmap => bitmap.Name, StringComparer.Ordinal)
                .Where(bitmap => !top.Holds(bitmap.Name) && Array.Exists(others, other => other.Holds(bitmap.Name)));
        }
    }

    /// <summary>Plans the edit of the top image, to be made before the images leave.</summary>
    /// <param name="hides">What those images hide of those below them.</param>
    /// <param name="disablesGaps">Whether bitmaps that would look valid afterwards, and are not, are disabled in any case.</param>
    /// <param name="changes">Takes what is done.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="BitmapStateException">The top image would have to hold a bitmap, and is of version 2.</exception>
    public async ValueTask<BitmapEdit> PlanAsync(
        DirtyBitmap hides, bool disablesGaps, List<BitmapChange> changes, CancellationToken cancellationToken)
    {
        foreach (BitmapInfo bitmap in top.Bitmaps.DistinctBy(static bitmap => bitmap.Name, StringComparer.Ordinal))
        {
            changes.AddRange(await PlanAsync(bitmap, hides, disablesGaps, cancellationToken).ConfigureAwait(false));
        }

        foreach (BitmapInfo bitmap in LostBitmaps)
        {
            if (top.RequireImage().Header.Version < 3)
            {
                throw new BitmapStateException(
                    bitmap.Name,
                    $"Bitmap '{bitmap.Name}' is lost with the images that leave the chain, and other images hold one of that name: "
                    + $"{top} is of version 2 and cannot say that bits are lost; delete the bitmap first");
            }

            _edit.AddCarried(bitmap.Name, bitmap.GranularityBytes, isRecording: false);
            changes.Add(Change(
                bitmap, BitmapChangeKind.Disabled,
                "it was not valid, and would look valid with those of the same name in the other images"));
            await RecordAsync(bitmap, hides, cancellationToken).ConfigureAwait(false);
        }

        return _edit;
    }

    /// <summary>Plans what becomes of one bitmap of the top.</summary>
    private async ValueTask<IEnumerable<BitmapChange>> PlanAsync(
        BitmapInfo bitmap, DirtyBitmap hides, bool disablesGaps, CancellationToken cancellationToken)
    {
        if (bitmap.State == BitmapState.Inconsistent || bitmap.Faults.Count > 0)
        {
            // It can take no bits, and populating would not know of what leaves: all dirty, which populating keeps.
            _edit.Remove(bitmap.Name)
                .AddCarried(bitmap.Name, bitmap.GranularityBytes, isRecording: false)
                .Set(bitmap.Name, 0, top.VirtualSizeBytes);
            return [Change(
                bitmap, BitmapChangeKind.Disabled,
                "it cannot be used, and the record of the images that leave the chain is lost: all of it is dirty")];
        }

        bool isRecording = bitmap.State != BitmapState.Disabled;
        BitmapVerdict? verdict = isRecording
            ? await JudgeAsync([.. chain.Layers.Skip(top.Index)], bitmap, cancellationToken).ConfigureAwait(false)
            : null;
        if (verdict is { IsValid: true })
        {
            ChainLayer[] run = [.. dropped.Where(layer => verdict.Images.Contains(layer.Index))];
            foreach (ChainLayer layer in run)
            {
                _edit.Merge(layer.RequireImage(), bitmap.Name, bitmap.Name);
            }

            _edit.Merge(hides, bitmap.Name);
            return run.Select(layer => Change(bitmap, BitmapChangeKind.Merged, $"from {layer.Path}"));
        }

        ChainLayer? untold = await RecordAsync(bitmap, hides, cancellationToken).ConfigureAwait(false);
        if (!isRecording || !(await JudgeAsync([top, .. below], bitmap, cancellationToken).ConfigureAwait(false)).IsValid)
        {
            // An image that stays may leave later, and what is missing here with it.
            return [Change(bitmap, BitmapChangeKind.Marked, "what the images that leave the chain hold; it is still not valid")];
        }

        if (!disablesGaps && untold is null)
        {
            return [Change(bitmap, BitmapChangeKind.Marked, "what the images that leave the chain hold and did not record")];
        }

        _edit.Disable(bitmap.Name);
        return [Change(
            bitmap, BitmapChangeKind.Disabled,
            untold is null
                ? "it is not valid, and would look so"
                : $"it is not valid, and what changed in {untold.Path} cannot be told: {RebuildRules.WhyUnsound(untold)}")];
    }

    /// <summary>
    /// Gives a bitmap of the top image what changed in the images that leave, as far as that can be told; else all. Populating
    /// a disabled one keeps the bits that it has.
    /// </summary>
    /// <returns>An image of which it cannot be told; null when there is none.</returns>
    private async ValueTask<ChainLayer?> RecordAsync(BitmapInfo bitmap, DirtyBitmap hides, CancellationToken cancellationToken)
    {
        var bits = new DirtyBitmap(top.VirtualSizeBytes, bitmap.GranularityBytes);
        foreach (ChainLayer layer in dropped)
        {
            await StoredBits.MergeAsync(layer, bitmap.Name, _edit, top.VirtualSizeBytes, cancellationToken).ConfigureAwait(false);
            if (await TableJudge.IsUsableAsync(layer, bitmap.Name, cancellationToken).ConfigureAwait(false))
            {
                continue;
            }

            if (RebuildRules.WhyUnsound(layer) is not null)
            {
                _edit.Set(bitmap.Name, 0, top.VirtualSizeBytes);
                return layer;
            }

            await ChainPopulate.MarkAllocatedAsync(chain, layer.Index, bits, cancellationToken).ConfigureAwait(false);
        }

        _edit.Merge(bits, bitmap.Name).Merge(hides, bitmap.Name);
        return null;
    }

    private static ValueTask<BitmapVerdict> JudgeAsync(
        IReadOnlyList<ChainLayer> layers, BitmapInfo bitmap, CancellationToken cancellationToken) =>
        TableJudge.JudgeAsync(layers, bitmap.Name, VerdictProfile.Libvirt, cancellationToken);

    private BitmapChange Change(BitmapInfo bitmap, BitmapChangeKind kind, string detail) => new(bitmap.Name, kind, top.Path, detail);
}
