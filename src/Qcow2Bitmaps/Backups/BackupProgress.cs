namespace Qcow2Bitmaps.Backups;

/// <summary>How far a backup, a restore or a verification is.</summary>
/// <param name="DoneBytes">How many bytes of the disks are done, those among them of which nothing has to be copied.</param>
/// <param name="TotalBytes">How many there are.</param>
public readonly record struct BackupProgress(long DoneBytes, long TotalBytes);
