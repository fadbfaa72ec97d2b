namespace Qcow2Bitmaps.Backups;

/// <summary>What happens, when a backup ends, to the bitmap that it used or that starts with it: QEMU's <c>bitmap-mode</c>.</summary>
public enum BitmapSyncMode
{
    /// <summary>
    /// After a success, the bitmap contains what was written since the backup's point; otherwise it is unchanged. If a
    /// <see cref="DiskBackup"/> starts a new checkpoint, that records instead, and the bitmap is unchanged.
    /// </summary>
    OnSuccess,
    /// <summary>The bitmap is unchanged.</summary>
    Never,
    /// <summary>
    /// The bitmap holds what was written since the backup's point, and what was not copied. What a failed <see cref="DiskBackup"/> has
    /// copied stays in the unfinished backup, which the same backup resumes when it is taken again.
    /// </summary>
    Always,
}
