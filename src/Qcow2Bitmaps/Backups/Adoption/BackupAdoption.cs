using Qcow2Bitmaps.Backups.Adoption;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>
/// Makes backups that other programs took (QEMU and libvirt in push mode, copies) what incremental backups
/// can be built on: gives them manifests.
/// </summary>
/// <remarks>
/// <para>
/// An image of such a series has what changed since the one before, and mostly nothing that says which one that was. What proves the series
/// is the disk: the images over one another have to read as it does wherever the bitmap calls it clean. What is dirty by now cannot be
/// compared; there the order is as the caller says, and as backing files, sizes and times bear out.
/// </para>
/// <para>
/// The images are only read. All is checked before anything is written; then manifests get their names one by one, the oldest
/// first, and that of the last one, which alone names the bitmap, at the end. So a stop leaves backups on which none is built
/// by that bitmap, and the same call goes on.
/// </para>
/// </remarks>
public static class BackupAdoption
{
    /// <summary>Adopts a series.</summary>
    /// <param name="imagePaths">The images, a full backup and then what changed since the one before each, the oldest first; all in one
    /// folder. Those that have manifests are known already, and come first.</param>
    /// <param name="diskPath">The top image of the disk's chain.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Is told how far the reading is.</param>
    /// <param name="cancellationToken">Ends the work, until manifests are written.</param>
    /// <exception cref="ArgumentException">An option cannot be, or no image is given.</exception>
    /// <exception cref="BackupException">The images are no series of that disk, or are not in order; nothing was written.</exception>
    /// <exception cref="BitmapStateException">The bitmap is not valid over the disk's chain; nothing was written.</exception>
    /// <exception cref="ImageLockedException">Somebody writes an image.</exception>
    /// <exception cref="Qcow2Exception">An image is broken.</exception>
    /// <exception cref="IOException">A file cannot be read or written.</exception>
    public static async Task<AdoptionResult> RunAsync(
        IReadOnlyList<string> imagePaths, string diskPath, BackupAdoptOptions options, IProgress<OperationProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(imagePaths);
        ArgumentNullException.ThrowIfNull(diskPath);
        ArgumentNullException.ThrowIfNull(options);
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
                return new AdoptionResult(await run.WriteAsync().ConfigureAwait(false), compared);
            }
        }
    }

    private static async ValueTask RequireBitmapAsync(ImageChain disk, string name, CancellationToken cancellationToken)
    {
        foreach (ChainLayer layer in disk.Layers)
        {
            string journal = BitmapEditSet.JournalPathOf(layer.Path);
            if (layer is Qcow2Layer && DurableFile.Exists(journal))
            {
                throw new BackupException(
                    $"An edit of the bitmaps of several images was interrupted, and '{journal}' is its journal: "
                    + $"until 'bitmap --recover' has finished it, no bitmap of the disk is reliable");
            }
        }

        BitmapVerdict verdict = await disk.JudgeBitmapAsync(name, cancellationToken: cancellationToken).ConfigureAwait(false);
        if (!verdict.IsValid)
        {
            throw new BitmapStateException(name, verdict.ToString());
        }
    }
}
