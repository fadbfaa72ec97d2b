namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>What a backup job is to do. Immutable.</summary>
public sealed record BackupJobOptions
{
    /// <summary>What is copied.</summary>
    public required BackupSync Sync { get; init; }

    /// <summary>
    /// The target: a disk of exactly the same size, written in whole clusters of at least 64 KiB. The caller disposes it after the job has
    /// ended. <see cref="RecordingSession.CreateTargetAsync"/> creates one,
    /// <see cref="ImageChain.OpenWriterAsync(string, string, ChainOpenOptions, CancellationToken)"/> opens one. If it is a writer or
    /// another session, that records what is copied. While the job runs, another session cannot be copied back to the job's session,
    /// directly or through others.
    /// </summary>
    public required Disk Target { get; init; }

    /// <summary>
    /// An existing bitmap of the session that marks what is dirty; a full backup clears it at the job's point. Null for none. To start a
    /// new one, add it and start the backup in one <see cref="RecordingTransaction"/>.
    /// </summary>
    public string? Bitmap { get; init; }

    /// <summary>
    /// What happens to the bitmap when the job ends. Required with a bitmap, except for <see cref="BackupSync.Incremental"/>;
    /// not allowed without one.
    /// </summary>
    public BitmapSyncMode? BitmapMode { get; init; }

    /// <summary>The maximum number of bytes copied per second, not counting copies before writes; 0 for no limit.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The number is negative.</exception>
    public long BytesPerSecond
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value);
            field = value;
        }
    }

    /// <summary>Whether clusters are compressed on the target, which has to be a qcow2 image whose compression is zlib.</summary>
    public bool Compress { get; init; }

    /// <summary>
    /// Runs when everything is copied and flushed, before the job decides what becomes of its bitmap: to close the target, or to wait for
    /// other jobs. If it fails, the job fails, and nothing counts as copied. Cancelling the job cancels the token.
    /// </summary>
    public Func<CancellationToken, ValueTask>? BeforeCompletion { get; init; }

    /// <summary>
    /// Receives the number of bytes copied, from several threads. The total is that of <see cref="BackupJob.TotalBytes"/>.
    /// </summary>
    public IProgress<OperationProgress>? Progress { get; init; }
}
