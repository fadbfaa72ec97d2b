namespace Qcow2Bitmaps.Backups;

/// <summary>A disk to back up.</summary>
/// <param name="TopPath">The top image of its chain.</param>
/// <param name="TargetPath">The backup: a file that is not there yet. Its manifest stands beside it.</param>
/// <param name="PreviousPath">
/// The backup that an incremental one stands on, by its manifest or its image, in the target's folder. When null it is the newest one there
/// of this disk at whose point the bitmap began to record.
/// </param>
public sealed record BackupDisk(string TopPath, string TargetPath, string? PreviousPath = null);
