namespace Qcow2Bitmaps;

/// <summary>What helps against an error or a fault, or where a bitmap is not valid over a chain: the best one for each state.</summary>
/// <remarks>Messages say what is wrong; programs word the remedy for their users.</remarks>
public enum Remedy
{
    /// <summary>
    /// Rebuild it from the images' allocation (<c>ChainPopulate</c>), without any consent options: afterwards it is valid
    /// and includes all changes.
    /// </summary>
    Populate,
    /// <summary>
    /// No image holds it, and others are there: rebuilding it from one that is older (<c>ChainPopulate.OpenSinceAsync</c>).
    /// Which one is older, only the caller knows.
    /// </summary>
    PopulateSince,
    /// <summary>
    /// Repairing the image that is at fault (<c>Qcow2Image.RepairAsync</c>). Of a broken bitmap, bits in doubt become dirty.
    /// </summary>
    Repair,
    /// <summary>Nothing is broken: another process has the image open. Ask that process, or wait for it.</summary>
    Wait,
    /// <summary>
    /// Removing it from all images (<c>ChainBitmaps</c>): what changed cannot be told any more,
    /// and a full backup has to be taken.
    /// </summary>
    Delete,
    /// <summary>Take a full backup with a new bitmap: no image holds this bitmap, or one from which it could be rebuilt.</summary>
    FullBackup,
    /// <summary>
    /// The bitmap is valid, but its images have disks of different sizes, whose bitmaps QEMU cannot merge: pull them into the top image,
    /// commit, or make a flattened copy.
    /// </summary>
    Pull,
    /// <summary>
    /// An edit of several images was interrupted: finishing or undoing it with all its images (<c>BitmapEditSet.RecoverAsync</c>).
    /// </summary>
    RecoverEdit,
    /// <summary>Rebuilding it with all of the image marked: its allocation does not tell what changed. Or a full backup.</summary>
    PopulateAllDirty,
    /// <summary>
    /// As <see cref="PopulateAllDirty"/>; or, where the lowest image that holds it was neither committed and emptied nor rebased since the
    /// bitmap was added, trusting that image. Only the caller knows.
    /// </summary>
    TrustBirth,
    /// <summary>Copying out what is needed of the internal snapshots, and deleting them.</summary>
    DeleteSnapshots,
    /// <summary>Comparing the backup with the disk (<c>DiskBackup.VerifyAsync</c>), which shows whether a bitmap records since.</summary>
    VerifyBackup,
    /// <summary>Making manifests for backups of another program (<c>DiskBackup.AdoptAsync</c>).</summary>
    AdoptBackup,
}
