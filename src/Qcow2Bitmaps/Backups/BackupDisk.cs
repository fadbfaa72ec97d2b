namespace Qcow2Bitmaps.Backups;

/// <summary>A disk to back up.</summary>
/// <param name="TopPath">The top image of its chain.</param>
/// <param name="TargetPath">The backup: a file that does not exist yet. Its manifest is created beside it.</param>
/// <param name="PreviousPath">
/// The backup that an incremental one is based on: its manifest or image, in the target's folder. When null, the newest one there of this
/// disk at whose point the bitmap began to record.
/// </param>
public sealed record BackupDisk(string TopPath, string TargetPath, string? PreviousPath = null);
