namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>What a backup job is to do. Immutable.</summary>
public sealed record BackupJobOptions
{
    /// <summary>What is copied.</summary>
    public required BackupSync Sync { get; init; }

    /// <summary>
    /// Where to: a disk of exactly the same size, written in whole clusters of at least 64 KiB. The caller disposes it when the job has
    /// ended. <see cref="RecordingSession.CreateTargetAsync"/> creates one, <see cref="ImageChain.OpenDiskAsync"/> opens one. A writer and
    /// another session record what is copied. Another session cannot be copied back to the job's, directly or over others, while the job
    /// runs.
    /// </summary>
    public required Disk Target { get; init; }

    /// <summary>The bitmap that says what is dirty, or that starts anew with this backup; null for none.</summary>
    public string? Bitmap { get; init; }

    /// <summary>
    /// What becomes of the bitmap when the job ends; has to be given with a bitmap, but for
    /// <see cref="BackupSync.Incremental"/>, and only then.
    /// </summary>
    public BitmapSyncMode? BitmapMode { get; init; }

    /// <summary>How many bytes are copied in a second, not counting what writes push out of the way; 0 for as many as it goes.</summary>
    public long BytesPerSecond { get; init; }

    /// <summary>Whether clusters are compressed on the target, which has to be a qcow2 image whose compression is zlib.</summary>
    public bool Compress { get; init; }

    /// <summary>
    /// Runs when everything is copied and flushed, before the job decides what becomes of its bitmap: to close the target, or to wait for
    /// other jobs. If it fails, the job fails. If the job is cancelled meanwhile, the token is.
    /// </summary>
    public Func<CancellationToken, ValueTask>? BeforeCompletion { get; init; }

    /// <summary>Is told how many bytes are copied, from several threads. The total is that of <see cref="BackupJob.TotalBytes"/>.</summary>
    public IProgress<OperationProgress>? Progress { get; init; }
}
