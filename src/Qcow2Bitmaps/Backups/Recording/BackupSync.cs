namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>What a backup job copies; QEMU calls it <c>sync</c>.</summary>
public enum BackupSync
{
    /// <summary>The whole disk.</summary>
    Full,
    /// <summary>What is allocated in the top image itself.</summary>
    Top,
    /// <summary>
    /// What the session's own bitmap marks as dirty, as in QEMU: that of the top image. If images below hold bits of it too, merge them
    /// first into a new bitmap (<see cref="RecordingTransaction.Merge(RecordingSession, string, DirtyBitmap)"/>). The same as
    /// <see cref="Bitmap"/> with <see cref="BitmapSyncMode.OnSuccess"/>.
    /// </summary>
    Incremental,
    /// <summary>What the session's own bitmap marks as dirty: see <see cref="Incremental"/>.</summary>
    Bitmap,
    /// <summary>Only what is about to be overwritten, until the job is cancelled.</summary>
    None,
}
