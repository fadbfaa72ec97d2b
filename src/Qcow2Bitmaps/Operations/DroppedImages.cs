using Qcow2Bitmaps.Chains;

namespace Qcow2Bitmaps.Operations;

/// <summary>Has an image's bitmaps know what images recorded that are about to leave the chain.</summary>
internal static class DroppedImages
{
    /// <summary>Plans the edit of the top image, to be made before the images leave.</summary>
    /// <param name="chain">The chain as it is.</param>
    /// <param name="top">The image from which they leave; there may be others above it.</param>
    /// <param name="dropped">The images that leave it.</param>
    /// <param name="remaining">The chain as it will be, the top image first.</param>
    /// <param name="hides">What those images hide of those below them.</param>
    /// <param name="gaps">What becomes of bitmaps that would look valid afterwards, and are not.</param>
    /// <param name="changes">Takes what is done.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="BitmapStateException">The top image would have to hold a bitmap, and is of version 2.</exception>
    public static async ValueTask<BitmapEdit> PlanAsync(
        ImageChain chain, ChainLayer top, IReadOnlyList<ChainLayer> dropped, IReadOnlyList<ChainLayer> remaining, DirtyBitmap hides,
        GapPolicy gaps, List<BitmapChange> changes, CancellationToken cancellationToken)
    {
        ChainLayer[] layers = [.. chain.Layers.Skip(top.Index)];
        var edit = new BitmapEdit();
        foreach (BitmapInfo bitmap in top.RequireImage().Bitmaps.DistinctBy(static bitmap => bitmap.Name, StringComparer.Ordinal))
        {
            if (bitmap.State == BitmapState.Inconsistent || bitmap.Faults.Count > 0)
            {
                // It can take no bits, and populating would not know of what leaves: all dirty, which populating keeps.
                edit.Remove(bitmap.Name)
                    .AddCarried(bitmap.Name, bitmap.GranularityBytes, isRecording: false)
                    .Set(bitmap.Name, 0, top.VirtualSizeBytes);
                changes.Add(
                    new BitmapChange(
                        bitmap.Name, BitmapChangeKind.Disabled, top.Path,
                        "it cannot be used, and the record of the images that leave the chain is lost: all of it is dirty"));
                continue;
            }

            if (bitmap.State == BitmapState.Disabled)
            {
                await RecordAsync(chain, top, dropped, bitmap, hides, edit, cancellationToken).ConfigureAwait(false);
                changes.Add(
                    new BitmapChange(
                        bitmap.Name, BitmapChangeKind.Marked, top.Path,
                        "what the images that leave the chain hold; it is still not valid"));
                continue;
            }

            BitmapVerdict verdict = await TableJudge.JudgeAsync(
                layers, bitmap.Name, VerdictProfile.Libvirt, cancellationToken).ConfigureAwait(false);
            if (verdict.IsValid)
            {
                foreach (ChainLayer layer in dropped.Where(layer => verdict.Images.Contains(layer.Index)))
                {
                    edit.Merge(layer.RequireImage(), bitmap.Name, bitmap.Name);
                    changes.Add(new BitmapChange(bitmap.Name, BitmapChangeKind.Merged, top.Path, $"from {layer.Path}"));
                }

                edit.Merge(hides, bitmap.Name);
            }
            else if ((await TableJudge.JudgeAsync(
                remaining, bitmap.Name, VerdictProfile.Libvirt, cancellationToken).ConfigureAwait(false)).IsValid)
            {
                await CloseGapAsync(chain, top, dropped, bitmap, hides, gaps, edit, changes, cancellationToken).ConfigureAwait(false);
            }
            else
            {
                // An image that stays may leave later, and what is missing here with it.
                await RecordAsync(chain, top, dropped, bitmap, hides, edit, cancellationToken).ConfigureAwait(false);
                changes.Add(
                    new BitmapChange(
                        bitmap.Name, BitmapChangeKind.Marked, top.Path,
                        "what the images that leave the chain hold; it is still not valid"));
            }
        }

        foreach (BitmapInfo bitmap in LostBitmaps(chain, top, dropped, remaining))
        {
            if (top.RequireImage().Header.Version < 3)
            {
                throw new BitmapStateException(
                    bitmap.Name,
                    $"Bitmap '{bitmap.Name}' is lost with the images that leave the chain, and other images hold one of that name: "
                    + $"{top} is of version 2 and cannot say that bits are lost; delete the bitmap first");
            }

            edit.AddCarried(bitmap.Name, bitmap.GranularityBytes, isRecording: false);
            changes.Add(
                new BitmapChange(
                    bitmap.Name, BitmapChangeKind.Disabled, top.Path,
                    "it was not valid, and would look valid with those of the same name in the other images"));
            await RecordAsync(chain, top, dropped, bitmap, hides, edit, cancellationToken).ConfigureAwait(false);
        }

        return edit;
    }

    /// <summary>
    /// The bitmaps that images which leave hold, and the top does not, though images above it or of the new chain do: what those hold would
    /// look like all there is, at once or once it is populated.
    /// </summary>
    private static IEnumerable<BitmapInfo> LostBitmaps(
        ImageChain chain, ChainLayer top, IReadOnlyList<ChainLayer> dropped, IReadOnlyList<ChainLayer> remaining)
    {
        ChainLayer[] others = [.. chain.Layers.Take(top.Index), .. Newcomers(chain, remaining)];
        return dropped
            .SelectMany(static layer => layer.Bitmaps)
            .DistinctBy(static bitmap => bitmap.Name, StringComparer.Ordinal)
            .Where(bitmap => !top.Holds(bitmap.Name) && Array.Exists(others, other => other.Holds(bitmap.Name)));
    }

    /// <summary>The images of the new chain that are none of the old one: their bitmaps record another disk's changes.</summary>
    internal static IEnumerable<ChainLayer> Newcomers(ImageChain chain, IReadOnlyList<ChainLayer> remaining) => remaining
        .Where(layer =>
            !chain.Layers.Any(
                old => ReferenceEquals(old, layer) || (layer.Storage.Identity is { } identity && old.Storage.Identity == identity)));

    private static async ValueTask CloseGapAsync(
        ImageChain chain, ChainLayer top, IReadOnlyList<ChainLayer> dropped, BitmapInfo bitmap, DirtyBitmap hides, GapPolicy gaps,
        BitmapEdit edit, List<BitmapChange> changes, CancellationToken cancellationToken)
    {
        ChainLayer? untold = await RecordAsync(chain, top, dropped, bitmap, hides, edit, cancellationToken).ConfigureAwait(false);
        if (gaps == GapPolicy.Disable || untold is not null)
        {
            edit.Disable(bitmap.Name);
            changes.Add(new BitmapChange(
                bitmap.Name, BitmapChangeKind.Disabled, top.Path,
                untold is null
                    ? "it is not valid, and would look so"
                    : $"it is not valid, and what changed in {untold.Path} cannot be told: {RebuildRules.WhyUnsound(untold)}"));
        }
        else
        {
            changes.Add(
                new BitmapChange(
                    bitmap.Name, BitmapChangeKind.Marked, top.Path, "what the images that leave the chain hold and did not record"));
        }
    }

    /// <summary>
    /// Gives a bitmap of the top image what changed in the images that leave, as far as that can be told; else all. Populating
    /// a disabled one keeps the bits that it has.
    /// </summary>
    /// <returns>An image of which it cannot be told; null when there is none.</returns>
    private static async ValueTask<ChainLayer?> RecordAsync(
        ImageChain chain, ChainLayer top, IReadOnlyList<ChainLayer> dropped, BitmapInfo bitmap, DirtyBitmap hides, BitmapEdit edit,
        CancellationToken cancellationToken)
    {
        var bits = new DirtyBitmap(top.VirtualSizeBytes, bitmap.GranularityBytes);
        foreach (ChainLayer layer in dropped)
        {
            if (await TableJudge.IsUsableAsync(layer, bitmap.Name, cancellationToken).ConfigureAwait(false))
            {
                edit.Merge(layer.RequireImage(), bitmap.Name, bitmap.Name);
            }
            else if (RebuildRules.WhyUnsound(layer) is not null)
            {
                edit.Set(bitmap.Name, 0, top.VirtualSizeBytes);
                return layer;
            }
            else
            {
                await ChainPopulate.MarkAllocatedAsync(chain, layer.Index, bits, cancellationToken).ConfigureAwait(false);
            }
        }

        edit.Merge(bits, bitmap.Name).Merge(hides, bitmap.Name);
        return null;
    }
}
