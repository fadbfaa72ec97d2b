namespace Qcow2Bitmaps.Backups;

/// <summary>How far a backup got.</summary>
public enum BackupState
{
    /// <summary>It is whole, and its anchors record from its point on.</summary>
    Complete,
    /// <summary>
    /// It is whole and can be restored, but was stopped before it was known that its anchors record from its point on: no incremental
    /// backup is built on it by them, until it is verified with the disk.
    /// </summary>
    Anchoring,
    /// <summary>
    /// Its copying failed, and what was copied is clean in its bitmap: the same backup taken again makes it whole. It cannot be restored.
    /// </summary>
    Partial,
}
