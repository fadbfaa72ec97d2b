namespace Qcow2Bitmaps.Backups;

/// <summary>What an adoption made.</summary>
/// <param name="Backups">The series, the oldest first, each with whether its manifest was made by this call; else it was there, and is as
/// it was but for a bitmap that it gave up.</param>
/// <param name="ComparedBytes">How many bytes of the disk were compared; null where the caller vouched for the series.</param>
public sealed record AdoptionResult(IReadOnlyList<(StoredBackup Backup, bool IsNew)> Backups, long? ComparedBytes);
