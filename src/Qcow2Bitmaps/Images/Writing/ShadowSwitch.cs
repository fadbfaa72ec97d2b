using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Makes a change through shadow structures: prepare, switch, free.</summary>
internal static class ShadowSwitch
{
    /// <summary>Makes the change, or leaves the image unchanged.</summary>
    /// <param name="image">The image; the caller has exclusive access.</param>
    /// <param name="counts">The counts.</param>
    /// <param name="change">The change of the header, which <paramref name="prepare"/> completes.</param>
    /// <param name="prepare">Writes the new structures, and sets what the header will refer to.</param>
    /// <param name="takeBack">Undoes what was prepared in other files, where the image is not switched; null for nothing.</param>
    /// <param name="cancellationToken">Cancels the work while the image is unchanged.</param>
    /// <exception cref="Qcow2Exception">The change is refused, or there is no space; the image is unchanged.</exception>
    /// <exception cref="IOException">The storage failed; the image has its old or its new state.</exception>
    public static async ValueTask RunAsync(
        ImageHandle image,
        ShadowRefcounts counts,
        HeaderChange change,
        Func<ValueTask> prepare,
        Func<ValueTask>? takeBack,
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
            async () =>
            {
                try
                {
                    await counts.RollBackAsync(CancellationToken.None).ConfigureAwait(false);
                }
                finally
                {
                    if (takeBack is not null)
                    {
                        await takeBack().ConfigureAwait(false);
                    }
                }
            }).ConfigureAwait(false);
        await transaction.SwitchOrRollBackAsync().ConfigureAwait(false);
        _ = await Leftovers.TidyAsync(
            $"'{image.Name}' is changed, but its file keeps space of clusters that are free now",
            () => counts.ReleaseAsync(CancellationToken.None)).ConfigureAwait(false);
    }

    /// <summary>Refuses an image with bitmap data past the end of the file: the missing bits count as dirty, but would read as clean once
    /// the file has grown.</summary>
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
