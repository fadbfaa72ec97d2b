namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>Where a backup job stands.</summary>
public enum BackupJobState
{
    /// <summary>It copies, or is about to.</summary>
    Running,
    /// <summary>All is copied and flushed.</summary>
    Completed,
    /// <summary>It was cancelled; the target is of no use.</summary>
    Cancelled,
    /// <summary>It failed; the target is of no use.</summary>
    Failed,
}
