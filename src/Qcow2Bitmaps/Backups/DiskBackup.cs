namespace Qcow2Bitmaps.Backups;

/// <summary>Backups of disks that nobody uses meanwhile: full ones, and of what has changed since a checkpoint.</summary>
public static partial class DiskBackup
{
    /// <summary>Takes backups of disks at one point.</summary>
    /// <remarks>
    /// <para>
    /// Locks keep writers out from before the first byte is read until everything is done, so that what is copied, where the bitmaps begin
    /// to record, and all disks of one call belong to one point.
    /// </para>
    /// <para>
    /// The order: the images, on disk; the manifests, which say that the backups are complete; those of earlier backups, which give up the
    /// bitmaps that the new ones anchor; then one atomic edit that starts the checkpoints, or clears the bitmaps, of all disks; then the
    /// manifests again, which say that these record from that point on. So an interruption leaves files with <c>.partial</c> at the end of
    /// their names, which the next backup of that name removes, or, where they are complete, finishes; or complete backups of which it is
    /// not known whether their anchors record. No other is based on those until <see cref="VerifyAsync"/> has compared them with the disk.
    /// </para>
    /// </remarks>
    /// <param name="disks">The disks.</param>
    /// <param name="options">The options.</param>
    /// <param name="progress">Receives the progress of the copying; calls are sequential, from any thread.</param>
    /// <param name="cancellationToken">Ends the copying.</param>
    /// <returns>The backups, disk by disk.</returns>
    /// <exception cref="ArgumentException">The options do not go together, or two disks have one name or target.</exception>
    /// <exception cref="BitmapStateException">A bitmap is not valid over its chain (the message is the verdict), or the checkpoint
    /// cannot start; nothing was changed.</exception>
    /// <exception cref="BackupException">There is no backup to base this one on, or it is unsuitable; nothing was changed.</exception>
    /// <exception cref="ImageLockedException">Another process uses an image.</exception>
    /// <exception cref="Qcow2Exception">An image is broken, or there is not enough space.</exception>
    /// <exception cref="IOException">A target exists, or a storage failed.</exception>
    public static Task<IReadOnlyList<StoredBackup>> TakeAsync(
        IReadOnlyList<BackupDisk> disks, BackupOptions options, IProgress<OperationProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(disks);
        ArgumentNullException.ThrowIfNull(options);
        return BackupTaking.RunAsync(disks, options, progress, atStep: null, cancellationToken);
    }

    /// <summary>
    /// Reads everything that a backup and those below it hold, and compares it with the checksums of their manifests; and with the disk, if
    /// one is given.
    /// </summary>
    /// <param name="path">The backup's manifest, or its image.</param>
    /// <param name="disk">The disk's chain; null to verify only the backup.</param>
    /// <param name="since">The bitmap that marks what may have changed since the backup; when null its first anchor, or else the bitmap
    /// that it used.</param>
    /// <param name="progress">Is told how far the reading is.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <remarks>
    /// A backup that was interrupted before its anchors were known to record is complete, and its manifest written anew, when the disk
    /// equals it outside what an anchor marks.
    /// </remarks>
    /// <exception cref="BackupException">A manifest is invalid or missing, or an image is missing or not the expected one.</exception>
    /// <exception cref="BitmapStateException">The bitmap is not valid over the disk's chain.</exception>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public static Task<BackupCheck> VerifyAsync(
        string path, ImageChain? disk = null, string? since = null, IProgress<OperationProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(path);
        return BackupVerification.RunAsync(path, disk, since, progress, cancellationToken);
    }

    /// <summary>Writes the disk of a backup to a new image. Every backup is compared with its checksums while it is written.</summary>
    /// <param name="path">The backup's manifest, or its image.</param>
    /// <param name="targetPath">The image to make: a file that is not there yet, or a block device. Until the disk is complete the name of
    /// the file ends with <c>.partial</c>.</param>
    /// <param name="isRaw">Whether it is a raw file; else it is a qcow2 image.</param>
    /// <param name="checkpoint">The point: a checkpoint that started with the backup or with one that it is based on; the backup itself
    /// when null.</param>
    /// <param name="progress">Is told how far the work is.</param>
    /// <param name="cancellationToken">Ends the work; the incomplete file is removed.</param>
    /// <returns>The backup whose disk was restored.</returns>
    /// <exception cref="BackupException">A backup is damaged, missing, or not complete; or none started the checkpoint.</exception>
    /// <exception cref="NoSpaceException">The device is too small.</exception>
    /// <exception cref="IOException">The target exists, or a file cannot be read or written.</exception>
    public static Task<StoredBackup> RestoreAsync(
        string path, string targetPath, bool isRaw = false, string? checkpoint = null, IProgress<OperationProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentException.ThrowIfNullOrEmpty(targetPath);
        return BackupRestore.RunAsync(path, targetPath, isRaw, checkpoint, progress, cancellationToken);
    }

    /// <summary>Reads all manifests of a folder; no image is opened.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The backups, the oldest first; then manifests that cannot be read.</returns>
    /// <exception cref="BackupException">There are too many.</exception>
    /// <exception cref="IOException">The folder cannot be read.</exception>
    public static Task<IReadOnlyList<StoredBackup>> ListAsync(string folder, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(folder);
        return BackupListing.ReadAsync(folder, cancellationToken);
    }
}
