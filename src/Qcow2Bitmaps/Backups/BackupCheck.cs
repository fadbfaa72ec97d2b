namespace Qcow2Bitmaps.Backups;

/// <summary>What a verification found.</summary>
/// <param name="Backups">The backup and what it stands on, the newest first, each with what is damaged in it.</param>
/// <param name="Difference">Where the disk, outside what its bitmap calls dirty, first differs from the backup, in bytes; null where it
/// does not, or no disk was compared.</param>
/// <param name="ComparedBytes">How many bytes of the disk were compared; null without a disk.</param>
/// <param name="Bitmap">The bitmap that said what has changed since; null without a disk.</param>
/// <param name="IsConfirmed">Whether a backup that was stopped before its anchors were known to record was found to be in
/// order by this, and is complete now.</param>
public sealed record BackupCheck(
    IReadOnlyList<(StoredBackup Backup, IReadOnlyList<BackupDamage> Damage)> Backups, long? Difference, long? ComparedBytes, string? Bitmap,
    bool IsConfirmed)
{
    /// <summary>Whether all is as it should be.</summary>
    public bool IsGood => Difference is null && Backups.All(static one => one.Damage.Count == 0);
}
