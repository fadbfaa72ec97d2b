using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images;

namespace Qcow2Bitmaps.Operations;

/// <summary>Has the top image's bitmaps know what images recorded that are about to leave the chain.</summary>
internal static class DroppedImages
{
    /// <summary>Plans the edit of the top image, to be made before the images leave.</summary>
    /// <param name="chain">The chain as it is.</param>
    /// <param name="dropped">The images that leave it.</param>
    /// <param name="remaining">The chain as it will be, the top image first.</param>
    /// <param name="hides">What those images hide of those below them.</param>
    /// <param name="gaps">What becomes of bitmaps that would look valid afterwards, and are not.</param>
    /// <param name="changes">Takes what is done.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public static async ValueTask<BitmapEdit> PlanAsync(
        ImageChain chain, IReadOnlyList<ChainLayer> dropped, IReadOnlyList<ChainLayer> remaining, DirtyBitmap hides, GapPolicy gaps, List<BitmapChange> changes, CancellationToken cancellationToken)
    {
        Qcow2Image top = chain.Layers[0].Image!;
        var edit = new BitmapEdit();
        foreach (BitmapInfo bitmap in top.Bitmaps.Where(static bitmap => bitmap.State == BitmapState.Recording && bitmap.Faults.Count == 0))
        {
            BitmapVerdict verdict = await chain.JudgeBitmapAsync(bitmap.Name, cancellationToken: cancellationToken).ConfigureAwait(false);
            if (verdict.IsValid)
            {
                foreach (ChainLayer layer in dropped.Where(layer => verdict.Images.Contains(layer.Index)))
                {
                    edit.Merge(layer.Image!, bitmap.Name, bitmap.Name);
                    changes.Add(new BitmapChange(bitmap.Name, BitmapChangeKind.Merged, top.Name, $"from {layer.Path}"));
                }

                edit.Merge(hides, bitmap.Name);
            }
            else if ((await ImageChain.JudgeBitmapAsync(remaining, bitmap.Name, VerdictProfile.Libvirt, cancellationToken).ConfigureAwait(false)).IsValid)
            {
                await CloseGapAsync(chain, dropped, bitmap, hides, gaps, edit, changes, cancellationToken).ConfigureAwait(false);
            }
        }

        return edit;
    }

    private static async ValueTask CloseGapAsync(
        ImageChain chain, IReadOnlyList<ChainLayer> dropped, BitmapInfo bitmap, DirtyBitmap hides, GapPolicy gaps, BitmapEdit edit, List<BitmapChange> changes, CancellationToken cancellationToken)
    {
        string top = chain.Layers[0].Path;
        ChainLayer? untold = dropped.FirstOrDefault(layer => UsableIn(layer, bitmap.Name) is null && ChainPopulate.WhyUnsound(layer) is not null);
        if (gaps == GapPolicy.Disable || untold is not null)
        {
            // Populating keeps the bits that it has: they have to tell what leaves the chain.
            edit.Disable(bitmap.Name);
            changes.Add(new BitmapChange(
                bitmap.Name, BitmapChangeKind.Disabled, top, untold is null ? "it is not valid, and would look so" : $"it is not valid, and what changed in {untold.Path} cannot be told: {ChainPopulate.WhyUnsound(untold)}"));
            if (untold is not null)
            {
                edit.Set(bitmap.Name, 0, chain.Layers[0].VirtualSizeBytes);
                return;
            }
        }

        var bits = new DirtyBitmap(chain.Layers[0].VirtualSizeBytes, bitmap.GranularityBytes);
        foreach (ChainLayer layer in dropped)
        {
            if (UsableIn(layer, bitmap.Name) is { } recorded)
            {
                edit.Merge(layer.Image!, recorded.Name, bitmap.Name);
            }
            else
            {
                await ChainPopulate.MarkAllocatedAsync(chain, layer.Index, bits, cancellationToken).ConfigureAwait(false);
            }
        }

        edit.Merge(bits, bitmap.Name).Merge(hides, bitmap.Name);
        if (gaps == GapPolicy.Disable)
        {
            return;
        }

        changes.Add(new BitmapChange(bitmap.Name, BitmapChangeKind.Marked, top, "what the images have that leave the chain and did not record"));
    }

    private static BitmapInfo? UsableIn(ChainLayer layer, string name) =>
        layer.Image is { } image && image.Bitmaps.TryGet(name, out BitmapInfo? bitmap) && bitmap.State == BitmapState.Recording && bitmap.Faults.Count == 0 ? bitmap : null;
}
