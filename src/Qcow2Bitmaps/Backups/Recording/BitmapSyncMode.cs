namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>What becomes of a backup job's bitmap when the job ends; QEMU calls it <c>bitmap-mode</c>.</summary>
public enum BitmapSyncMode
{
    /// <summary>After a success it holds what was written since the job began; else it is as if there had been no job.</summary>
    OnSuccess,
    /// <summary>It is as if there had been no job.</summary>
    Never,
    /// <summary>It holds what was written since the job began, and what the job did not copy.</summary>
    Always,
}
