namespace Qcow2Bitmaps.Backups;

/// <summary>What becomes of the bitmap that a backup goes by: QEMU's <c>bitmap-mode</c>.</summary>
public enum BackupMode
{
    /// <summary>When the backup is whole it records from the backup's point on; when it failed it is as before. Where a new checkpoint starts, that does the recording, and the bitmap stays as it is.</summary>
    OnSuccess,
    /// <summary>It stays as it is.</summary>
    Never,
    /// <summary>
    /// As <see cref="OnSuccess"/>; and when the backup failed, what was copied by then is clean in the bitmap, and stands in the unfinished backup, which the same backup taken again goes on with.
    /// </summary>
    Always,
}
