namespace Qcow2Bitmaps.Backups;

/// <summary>What a verification found.</summary>
public sealed record BackupCheck
{
    internal BackupCheck(IReadOnlyList<StoredBackup> backups, IReadOnlyList<BackupDamage> damage)
    {
        Backups = backups;
        Damage = damage;
    }

    /// <summary>The backup, then what it is based on, down to a full backup.</summary>
    public IReadOnlyList<StoredBackup> Backups { get; }

    /// <summary>What is damaged in them, at most 100 parts of each.</summary>
    public IReadOnlyList<BackupDamage> Damage { get; }

    /// <summary>The bitmap that marks what has changed since; null if no disk was compared.</summary>
    public string? Bitmap { get; internal init; }

    /// <summary>
    /// Where the disk, outside what the bitmap marks, first differs from the backup, in bytes; null if it does not, or was not compared.
    /// </summary>
    public long? FirstDifferenceOffsetBytes { get; internal init; }

    /// <summary>How many bytes of the disk were compared; null if no disk was.</summary>
    public long? ComparedBytes { get; internal init; }

    /// <summary>
    /// Whether this call completed a backup in the state <see cref="BackupState.Anchoring"/>, because it agrees with the disk.
    /// </summary>
    public bool IsConfirmed { get; internal init; }

    /// <summary>Whether everything agrees.</summary>
    public bool IsGood => FirstDifferenceOffsetBytes is null && Damage.Count == 0;
}
