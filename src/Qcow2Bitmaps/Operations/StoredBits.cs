using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps.Operations;

/// <summary>
/// The bits that images hold of a bitmap that is not valid. They are changes all the same, and may be all that is known of images that
/// have left the chain.
/// </summary>
internal static class StoredBits
{
    /// <summary>The bitmaps of images that leave a chain, each name once, that others hold too.</summary>
    public static IEnumerable<BitmapInfo> FindLost(IEnumerable<ChainLayer> leaving, IReadOnlyList<ChainLayer> others) => leaving
        .SelectMany(static layer => layer.Bitmaps)
        .DistinctBy(static bitmap => bitmap.Name, StringComparer.Ordinal)
        .Where(bitmap => others.Any(other => other.Holds(bitmap.Name)));

    /// <summary>Adds what an image has of a bitmap, in whatever state, to that of the edited image; all, where it cannot be read.</summary>
    public static async ValueTask MergeAsync(
        ChainLayer layer, string name, BitmapEdit edit, long sizeBytes, CancellationToken cancellationToken)
    {
        if (await TableJudge.HasBitsAsync(layer, name, cancellationToken).ConfigureAwait(false))
        {
            edit.Merge(layer.RequireImage(), name, name);
        }
        else if (layer is Qcow2Layer { Image: var image } && image.Bitmaps.TryGet(name, out BitmapInfo? bitmap))
        {
            var bits = new DirtyBitmap(layer.VirtualSizeBytes, bitmap.GranularityBytes);
            _ = await TryReadAsync(image, bitmap, bits, cancellationToken).ConfigureAwait(false)
                ? edit.Merge(bits, name)
                : edit.Set(name, 0, sizeBytes);
        }
    }

    /// <summary>
    /// Reads what is stored of a bitmap that was not closed, or whose table is broken in part: that counts as dirty there.
    /// </summary>
    /// <returns>Whether it could be read.</returns>
    public static async ValueTask<bool> TryReadAsync(
        Qcow2Image image, BitmapInfo bitmap, DirtyBitmap bits, CancellationToken cancellationToken)
    {
        try
        {
            PersistentBitmap pages = await PersistentBitmap.OpenAsync(
                image.Handle, bitmap, new FaultLog(Strictness.Lenient, image.Name), cancellationToken).ConfigureAwait(false);
            if (pages.Aliases is not null)
            {
                return false;
            }

            await bits.MergeAsync(pages, cancellationToken).ConfigureAwait(false);
            return true;
        }
        catch (Qcow2FormatException)
        {
            // Its table is broken: there is nothing to read.
            return false;
        }
    }
}
