namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>What a backup job copies; QEMU calls it <c>sync</c>.</summary>
public enum BackupSync
{
    /// <summary>All of the disk.</summary>
    Full,
    /// <summary>What the top image itself has.</summary>
    Top,
    /// <summary>What a bitmap says is dirty; the same as <see cref="Bitmap"/> with <see cref="BitmapSyncMode.OnSuccess"/>.</summary>
    Incremental,
    /// <summary>What a bitmap says is dirty.</summary>
    Bitmap,
    /// <summary>Only what is about to be overwritten, until the job is cancelled.</summary>
    None,
}
