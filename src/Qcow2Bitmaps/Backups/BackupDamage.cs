namespace Qcow2Bitmaps.Backups;

/// <summary>A part of a backup that does not match its manifest.</summary>
public sealed record BackupDamage
{
    internal BackupDamage(StoredBackup backup, long offsetBytes, string detail)
    {
        Backup = backup;
        OffsetBytes = offsetBytes;
        Detail = detail;
    }

    /// <summary>The backup, which may be one that the verified one is based on.</summary>
    public StoredBackup Backup { get; }

    /// <summary>Where the part starts on the disk, in bytes.</summary>
    public long OffsetBytes { get; }

    /// <summary>What is wrong, in words.</summary>
    public string Detail { get; }
}
