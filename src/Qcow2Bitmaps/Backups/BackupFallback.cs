namespace Qcow2Bitmaps.Backups;

/// <summary>What is done where the bitmap of an incremental backup is not valid over the chain.</summary>
public enum BackupFallback
{
    /// <summary>The backup is refused, with the verdict.</summary>
    None,
    /// <summary>
    /// The bitmap is rebuilt from what is allocated, by the rules of
    /// <see cref="Operations.ChainPopulate"/>; where those refuse, so is the backup.
    /// </summary>
    Populate,
    /// <summary>The whole disk is copied, as a full backup.</summary>
    Full,
}
