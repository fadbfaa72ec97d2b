using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Backups;

/// <summary>How backups are taken. Immutable and safe to share between threads.</summary>
public sealed record BackupOptions
{
    /// <summary>How the chains are opened; their choice of writable images is ignored.</summary>
    public ChainOpenOptions Chain { get; init; } = ChainOpenOptions.Default;

    /// <summary>The bitmap that says what to copy; null for a full backup.</summary>
    public string? Since { get; init; }

    /// <summary>
    /// The recording bitmap that starts in each top image at the point of the backup. Null for none: then the bitmap of <see cref="Since"/>
    /// is cleared, as <see cref="Mode"/> says, in every image of the chain that holds it. Other disks that share such an image lose it;
    /// <see cref="Operations.FoundOverlay.FindAsync"/> finds them, this call does not look.
    /// </summary>
    public string? Checkpoint { get; init; }

    /// <summary>What happens to the bitmap of <see cref="Since"/>.</summary>
    public BitmapSyncMode Mode { get; init; }

    /// <summary>What is done if that bitmap is not valid.</summary>
    public BackupFallback Fallback { get; init; }

    /// <summary>
    /// Whether to take a backup even if a file of the chain is shorter than its tables require
    /// (<see cref="ImageChain.FindTruncationsAsync"/>), or if it is based on such a backup: missing data count as zeros, and the manifest
    /// records it (<see cref="BackupManifest.Missing"/>). Otherwise that is an error.
    /// </summary>
    public bool AcceptsMissing { get; init; }

    /// <summary>Whether the target is a raw file, for full backups only; otherwise it is a qcow2 image.</summary>
    public bool IsRaw { get; init; }

    /// <summary>Whether clusters are compressed; qcow2 only.</summary>
    public bool Compress { get; init; }

    /// <summary>The number of parts of the disk that are copied concurrently: 1 to <see cref="ConversionOptions.MaxWorkers"/>.</summary>
    internal int Workers { get; init; } = ConversionOptions.DefaultWorkers;

    /// <summary>Returns why the options cannot be combined; null if they can.</summary>
    /// <param name="disks">How many disks are backed up.</param>
    internal string? FindFault(int disks = 1) =>
        disks < 1 ? "No disk is to be backed up"
        : Workers is < 1 or > ConversionOptions.MaxWorkers ? $"The number of workers is between 1 and {ConversionOptions.MaxWorkers}"
        : IsRaw && Since is not null ? "A raw file has no backing file: incremental backups must be qcow2"
        : IsRaw && Compress ? "Compression not supported for this file format"
        : Checkpoint is not null && BitmapName.FaultOf(Checkpoint) is { } fault ? fault
        : Since is null && Mode != BitmapSyncMode.OnSuccess ? "Cannot specify bitmap sync mode without a bitmap"
        : Since is null && Fallback != BackupFallback.None ? "A full backup uses no bitmap, so that it needs no fallback"
        : Since is not null && string.Equals(Since, Checkpoint, StringComparison.Ordinal)
            ? "The new checkpoint cannot have the name of the bitmap that the backup uses"
        : Mode == BitmapSyncMode.Always && Checkpoint is not null
            ? "Where a new checkpoint starts the bitmap stays as it is, so that mode 'always' has no meaningful effect"
        : Mode == BitmapSyncMode.Always && disks > 1
            ? "Mode 'always' resumes a failed backup, for which several disks have no common point: take them one by one"
        : null;
}
