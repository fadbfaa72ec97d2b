using Qcow2Bitmaps.Images.Writing;

namespace Qcow2Bitmaps.Backups.Adoption;

/// <summary>Makes manifests for backups that other programs took.</summary>
internal static class BackupAdoption
{
    public static async Task<AdoptionResult> RunAsync(
        IReadOnlyList<string> imagePaths, string diskPath, AdoptionOptions options, IProgress<OperationProgress>? progress,
        CancellationToken cancellationToken)
    {
        if ((options.FindFault() ?? (imagePaths.Count == 0 ? "No image is given" : null)) is { } fault)
        {
            throw new ArgumentException(fault, nameof(options));
        }

        ForeignSeries series = await ForeignSeries.OpenAsync(imagePaths, options.FirstFormat, cancellationToken).ConfigureAwait(false);
        await using (series.ConfigureAwait(false))
        {
            ImageChain disk = await ImageChain.OpenAsync(
                diskPath, options.Chain with { WritableLayers = [] }, cancellationToken).ConfigureAwait(false);
            await using (disk.ConfigureAwait(false))
            {
                await disk.RequireWholeAsync(withDataFiles: true, cancellationToken).ConfigureAwait(false);
                await series.RequireApartFromAsync(disk, cancellationToken).ConfigureAwait(false);
                await RequireBitmapAsync(disk, options.Checkpoint, cancellationToken).ConfigureAwait(false);
                long diskBytes = disk.SizeBytes;
                new SeriesOrder(series.Images).Require(diskBytes, options.IsTrusted);
                var run = new AdoptionRun(series, disk, options);
                await run.PrepareAsync(cancellationToken).ConfigureAwait(false);
                long? compared = await run.ReadAsync(diskBytes, progress, cancellationToken).ConfigureAwait(false);
                int known = series.Images.Count(static image => image.Manifest is not null);
                return new AdoptionResult(await run.WriteAsync().ConfigureAwait(false), known, compared);
            }
        }
    }

    private static async ValueTask RequireBitmapAsync(ImageChain disk, string name, CancellationToken cancellationToken)
    {
        foreach (Qcow2Layer layer in disk.Layers.OfType<Qcow2Layer>())
        {
            InterruptedEdit.RequireNone(layer.Image.Handle);
        }

        BitmapVerdict verdict = await disk.JudgeBitmapAsync(name, cancellationToken: cancellationToken).ConfigureAwait(false);
        if (!verdict.IsValid)
        {
            throw new BitmapStateException(verdict);
        }
    }
}
