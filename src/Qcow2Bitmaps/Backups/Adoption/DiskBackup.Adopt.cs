using Qcow2Bitmaps.Backups.Adoption;

namespace Qcow2Bitmaps.Backups;

/// <summary>Adoption.</summary>
public static partial class DiskBackup
{
    /// <summary>
    /// Makes manifests for backups that other programs took (QEMU and libvirt in push mode, copies), so that incremental backups can be
    /// based on them.
    /// </summary>
    /// <remarks>
    /// <para>
    /// An image of such a series has what changed since the one before, and usually nothing that says which one that was. What proves the
    /// series is the disk: written over one another, the images must equal it wherever the bitmap is clean. What is dirty by now cannot be
    /// compared; there the order is as the caller says, as far as backing files, sizes and times agree.
    /// </para>
    /// <para>
    /// The images are only read. Everything is checked before anything is written; then manifests get their names one by one, the oldest
    /// first, and that of the last one, which alone names the bitmap, at the end. So an interruption leaves backups on which none is based
    /// by that bitmap, and the same call continues.
    /// </para>
    /// </remarks>
    /// <param name="imagePaths">The images, the oldest first: a full backup, and then what changed since the previous one each; all in one
    /// folder. Those that already have manifests come first.</param>
    /// <param name="diskPath">The top image of the disk's chain.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Is told how far the reading is.</param>
    /// <param name="cancellationToken">Ends the work, until manifests are written.</param>
    /// <exception cref="ArgumentException">An option is wrong, or no image is given.</exception>
    /// <exception cref="BackupException">The images are no series of that disk, or are not in order; nothing was written.</exception>
    /// <exception cref="BitmapStateException">The bitmap is not valid over the disk's chain; nothing was written.</exception>
    /// <exception cref="ImageLockedException">Another process is writing an image.</exception>
    /// <exception cref="Qcow2Exception">An image is broken.</exception>
    /// <exception cref="IOException">A file cannot be read or written.</exception>
    public static Task<AdoptionResult> AdoptAsync(
        IReadOnlyList<string> imagePaths, string diskPath, AdoptionOptions options, IProgress<OperationProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(imagePaths);
        ArgumentNullException.ThrowIfNull(diskPath);
        ArgumentNullException.ThrowIfNull(options);
        return BackupAdoption.RunAsync(imagePaths, diskPath, options, progress, cancellationToken);
    }
}
