using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Carries out a change that is written beside what is there: prepare, switch, give back.</summary>
internal static class ShadowSwitch
{
    /// <summary>Carries the change out, or leaves the image as it is.</summary>
    /// <param name="image">The image, which nobody else edits.</param>
    /// <param name="counts">The counts.</param>
    /// <param name="change">What the header is to say, which <paramref name="prepare"/> completes.</param>
    /// <param name="prepare">Writes what is new, and says what the header shall name.</param>
    /// <param name="cancellationToken">Ends the work while the image is as before.</param>
    /// <exception cref="Qcow2Exception">The change is refused, or there is no space; the image is as before.</exception>
    /// <exception cref="IOException">The storage failed; the image is as before or as after.</exception>
    public static async ValueTask RunAsync(
        ImageHandle image,
        ShadowRefcounts counts,
        HeaderChange change,
        Func<ValueTask> prepare,
        CancellationToken cancellationToken)
    {
        MetadataTransaction transaction = await MetadataTransaction.PrepareAsync(
            image.Storage,
            async () =>
            {
                await RequireNothingMissingAsync(image, cancellationToken).ConfigureAwait(false);
                await prepare().ConfigureAwait(false);
                (ulong offset, uint clusters) = await counts.WriteAsync(cancellationToken).ConfigureAwait(false);
                SwitchPlan plan = await change.SetRefcountTable(offset, clusters)
                    .PlanAsync(image.Storage, image.Header, cancellationToken).ConfigureAwait(false);
                await image.Storage.FlushAsync(cancellationToken).ConfigureAwait(false);
                return plan;
            },
            () => counts.RollBackAsync(CancellationToken.None)).ConfigureAwait(false);
        await transaction.SwitchOrRollBackAsync().ConfigureAwait(false);
        _ = await Leftovers.TidyAsync(
            $"'{image.Name}' is changed, but its file keeps space of clusters that are free now",
            () => counts.ReleaseAsync(CancellationToken.None)).ConfigureAwait(false);
    }

    /// <summary>Refuses an image that has lost bits of bitmaps behind its end: they count as dirty, and would read as clean once the file
    /// has grown.</summary>
    private static async ValueTask RequireNothingMissingAsync(ImageHandle image, CancellationToken cancellationToken)
    {
        if (!image.Header.AutoclearFeatures.HasFlag(AutoclearFeatures.Bitmaps))
        {
            return;
        }

        foreach (BitmapInfo bitmap in image.Contents.Bitmaps.Bitmaps
            .Where(static bitmap => bitmap.Faults.Count == 0 && bitmap.State != BitmapState.Inconsistent))
        {
            PersistentBitmap stored = await PersistentBitmap.OpenAsync(
                image, bitmap, image.NewLog(), cancellationToken).ConfigureAwait(false);
            if (stored.MissesBits)
            {
                throw new Qcow2FormatException(
                    new FormatFault(
                        FaultCode.BitmapDataTruncated, $"bitmap '{bitmap.Name}'", "bits", bitmap.TableOffset, "cut off by the file's end",
                        "all of them; an edit of the bitmap writes the missing ones as dirty"),
                    image.Name);
            }
        }
    }
}
