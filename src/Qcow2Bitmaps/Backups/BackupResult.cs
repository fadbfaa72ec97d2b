using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Backups;

/// <summary>A backup that was taken.</summary>
public sealed class BackupResult
{
    internal BackupResult(StoredBackup backup, IReadOnlyList<BitmapChange> bitmaps)
    {
        Backup = backup;
        Bitmaps = bitmaps;
    }

    /// <summary>The backup.</summary>
    public StoredBackup Backup { get; }

    /// <summary>What became of bitmaps of the disk.</summary>
    public IReadOnlyList<BitmapChange> Bitmaps { get; }
}
