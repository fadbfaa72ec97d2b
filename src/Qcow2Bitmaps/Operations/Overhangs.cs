using Qcow2Bitmaps.Chains;

namespace Qcow2Bitmaps.Operations;

/// <summary>
/// Overhangs: parts where an image is longer than the next one and so shows zeros that nothing wrote, while an image further down is longer
/// too. The sizes show that change only until the longer images leave the chain.
/// </summary>
internal static class Overhangs
{
    /// <summary>Lists the overhangs.</summary>
    /// <param name="chain">The chain.</param>
    /// <param name="count">The number of images, from the active one down, that are checked.</param>
    /// <param name="longestBytes">The size of the longest image below them that may leave.</param>
    public static IEnumerable<(int Layer, long Start, long End)> Find(ImageChain chain, int count, long longestBytes) => chain.Layers
        .Take(count)
        .Where(static layer => layer.Bitmaps.Any())
        .Select(layer => (layer.Index, chain.Layers[layer.Index + 1].VirtualSizeBytes, Math.Min(layer.VirtualSizeBytes, longestBytes)))
        .Where(static overhang => overhang.Item2 < overhang.Item3);

    /// <summary>Marks overhangs in the usable bitmaps that leaving images hold too, with one atomic edit per image.</summary>
    public static async ValueTask MarkAsync(
        ImageChain chain, IEnumerable<(int Layer, long Start, long End)> overhangs, IReadOnlyList<ChainLayer> leaving,
        List<BitmapChange> changes, CancellationToken cancellationToken)
    {
        foreach ((int layer, long start, long end) in overhangs)
        {
            Qcow2Image image = chain.Layers[layer].RequireImage();
            var edit = new BitmapEdit();
            foreach (BitmapInfo bitmap in image.Bitmaps)
            {
                if (leaving.Any(leaves => leaves.Holds(bitmap.Name))
                    && await TableJudge.IsUsableAsync(chain.Layers[layer], bitmap.Name, cancellationToken).ConfigureAwait(false))
                {
                    edit.Set(bitmap.Name, start, end - start);
                    changes.Add(
                        new BitmapChange(bitmap.Name, BitmapChangeKind.Marked, image.Name, "what the shorter image below it hides"));
                }
            }

            if (edit.Count > 0)
            {
                await image.Bitmaps.EditAsync(edit, cancellationToken).ConfigureAwait(false);
            }
        }
    }
}
