namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>The state of a backup job.</summary>
public enum BackupJobState
{
    /// <summary>It is copying, or about to.</summary>
    Running,
    /// <summary>All is copied and flushed.</summary>
    Completed,
    /// <summary>It was cancelled; the target is of no use.</summary>
    Cancelled,
    /// <summary>It failed; the target is useless.</summary>
    Failed,
}
