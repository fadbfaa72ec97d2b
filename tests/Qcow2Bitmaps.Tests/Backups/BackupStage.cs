namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>How far the backup of a disk had come when it was stopped.</summary>
internal enum BackupStage
{
    NotTaken,
    NotAnchored,
    NotConfirmed,
    Complete,
}
