namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>What a backup job copies; QEMU calls it <c>sync</c>.</summary>
public enum BackupSync
{
    /// <summary>The whole disk.</summary>
    Full,
    /// <summary>What is allocated in the top image itself.</summary>
    Top,
    /// <summary>What a bitmap marks as dirty; the same as <see cref="Bitmap"/> with <see cref="BitmapSyncMode.OnSuccess"/>.</summary>
    Incremental,
    /// <summary>What a bitmap marks as dirty.</summary>
    Bitmap,
    /// <summary>Only what is about to be overwritten, until the job is cancelled.</summary>
    None,
}
