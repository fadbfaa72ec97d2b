using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Backups.Recording;

namespace Qcow2Bitmaps.Qmp.Jobs;

/// <summary>What a client wants of a backup.</summary>
internal sealed record QmpJobOptions
{
    public required string Id { get; init; }

    public required string Device { get; init; }

    public required BackupSync Sync { get; init; }

    public string? Bitmap { get; init; }

    public BitmapSyncMode? BitmapMode { get; init; }

    public long BytesPerSecond { get; init; }

    public bool Compresses { get; init; }

    /// <summary>Whether it ends by itself when its work is done (<c>auto-finalize</c>).</summary>
    public bool IsFinalizedAlone { get; init; }

    /// <summary>Whether it is no longer listed when it has ended (<c>auto-dismiss</c>).</summary>
    public bool IsDismissedAlone { get; init; }
}
