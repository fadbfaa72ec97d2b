namespace Qcow2Bitmaps.Backups;

/// <summary>The state of a backup.</summary>
public enum BackupState
{
    /// <summary>It is complete, and its anchors record from its point on.</summary>
    Complete,
    /// <summary>
    /// It is complete and can be restored, but was interrupted before it was known that its anchors record from its point on: no
    /// incremental backup is based on it by them until it is verified with the disk.
    /// </summary>
    Anchoring,
    /// <summary>
    /// Its copying failed, and the copied data are clean in its bitmap: taking the same backup again completes it. It cannot be restored.
    /// </summary>
    Partial,
}
