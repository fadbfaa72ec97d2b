namespace Qcow2Bitmaps.Backups;

/// <summary>
/// What becomes of the bitmap that a backup goes by, or that starts anew with it, when the backup ends: QEMU's <c>bitmap-mode</c>.
/// </summary>
public enum BitmapSyncMode
{
    /// <summary>
    /// After a success the bitmap holds what was written since the backup's point; else it is as before. Where a <see cref="DiskBackup"/>
    /// starts a new checkpoint, that does the recording, and the bitmap stays as it is.
    /// </summary>
    OnSuccess,
    /// <summary>The bitmap is as before.</summary>
    Never,
    /// <summary>
    /// The bitmap holds what was written since the backup's point, and what was not copied. What a failed <see cref="DiskBackup"/> has
    /// copied stays in the unfinished backup, which the same backup resumes when it is taken again.
    /// </summary>
    Always,
}
