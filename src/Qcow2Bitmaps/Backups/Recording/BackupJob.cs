namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>A backup that runs concurrently with a session's writes. The target becomes what the disk was when the job began.</summary>
/// <remarks>
/// <para>
/// Data about to be overwritten are copied first, so such a write waits for the target. If that fails, the job fails and the write
/// proceeds: a lost backup can be taken again. (QEMU fails the write.)
/// </para>
/// <para>Thread-safe.</para>
/// </remarks>
public sealed partial class BackupJob : IAsyncDisposable
{
    private readonly RecordingSession _session;
    private readonly BackupJobOptions _options;
    private readonly BackupSync _sync;
    private readonly LiveBitmap? _bitmap;
    private readonly BitmapSyncMode _mode;
    private readonly UnitCopier _copier;
    private readonly CancellationTokenSource _stop = new();
    private readonly CancellationToken _stopped;
    private readonly TaskCompletionSource<BackupJobState> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly PauseGate _pause = new();
    // Protects the error, and whether the job is cancelled.
    private readonly Lock _gate = new();
    private Exception? _error;
    private bool _isCancelled;
    private bool _isTargetDurable;
    private bool _hasBegunToFlush;
    private long _bytesPerSecond;

    internal BackupJob(RecordingSession session, BackupJobOptions options, BackupSync sync, LiveBitmap? bitmap, BitmapSyncMode mode)
    {
        _session = session;
        _options = options;
        _stopped = _stop.Token;
        _sync = sync;
        _bitmap = bitmap;
        _mode = mode;
        _copier = new UnitCopier(session, options, leavesZeros: sync == BackupSync.Full, _stopped);
        _bytesPerSecond = options.BytesPerSecond;
    }

    /// <summary>The job's state. When it is no longer running, what happens to the bitmap has been decided.</summary>
    public BackupJobState State => _ended.Task.IsCompletedSuccessfully ? _ended.Task.Result : BackupJobState.Running;

    /// <summary>What made the job fail; null unless it did.</summary>
    public Exception? Error => State == BackupJobState.Failed ? _error : null;

    /// <summary>Whether reading the disk made the job fail; if not, writing the target did, or what the job waited for.</summary>
    public bool HasSourceFailed => Error is { } error && ReferenceEquals(error, _copier.SourceError);

    /// <summary>How many bytes are copied.</summary>
    public long CopiedBytes => _copier.CopiedBytes;

    /// <summary>How many bytes there were to copy when the job began, in units of at least 64 KiB, cut at the disk's end.</summary>
    public long TotalBytes => _copier.TotalBytes;

    /// <summary>The maximum number of bytes copied per second; 0 for no limit.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The number is negative.</exception>
    public long BytesPerSecond
    {
        get => Interlocked.Read(ref _bytesPerSecond);
        set
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value);
            Interlocked.Exchange(ref _bytesPerSecond, value);
        }
    }

    /// <summary>Requests the job to end. It has ended when <see cref="WaitAsync"/> returns, and may have completed by then.</summary>
    public void Cancel()
    {
        if (State != BackupJobState.Running)
        {
            return;
        }

        lock (_gate)
        {
            _isCancelled = true;
        }

        _stop.Cancel();
    }

    /// <summary>
    /// Pauses the job as soon as the part in progress is copied. Writes still copy what they overwrite. No effect if it is already paused.
    /// </summary>
    public void Pause() => _pause.Pause();

    /// <summary>Resumes the job. Without effect when it is not paused.</summary>
    public void Resume() => _pause.Resume();

    /// <summary>Waits until the job has ended, and its bitmap is no longer busy.</summary>
    /// <param name="cancellationToken">Ends the wait, not the job.</param>
    /// <returns>How it ended.</returns>
    public Task<BackupJobState> WaitAsync(CancellationToken cancellationToken = default) => _ended.Task.WaitAsync(cancellationToken);

    /// <summary>Cancels the job where it still runs, and waits for its end. A job that has ended need not be disposed.</summary>
    public async ValueTask DisposeAsync()
    {
        if (State == BackupJobState.Running)
        {
            Cancel();
            await WaitAsync().ConfigureAwait(false);
        }

        _stop.Dispose();
    }

    /// <summary>Finds what is to be copied. The caller must hold the session exclusively.</summary>
    internal async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        DirtyBitmap remaining = _copier.Remaining;
        switch (_sync)
        {
            case BackupSync.Bitmap:
                remaining.Merge(_bitmap!.Bits);
                break;
            case BackupSync.Top:
                await _session.MarkOwnAsync(remaining, cancellationToken).ConfigureAwait(false);
                break;
            default:
                remaining.SetAll();
                break;
        }

        _copier.TotalBytes = _sync == BackupSync.None ? 0 : remaining.Count().Bytes;
    }

    /// <summary>Begins to copy. From now on writes call <see cref="CopyBeforeWriteAsync"/>.</summary>
    /// <remarks>The caller must hold the session exclusively.</remarks>
    internal void Start()
    {
        _session.Attach(this);
        _ = Task.Run(RunAsync);
    }

    /// <summary>Copies data about to be overwritten, unless they are copied already.</summary>
    internal async ValueTask CopyBeforeWriteAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken)
    {
        if (lengthBytes == 0 || _stopped.IsCancellationRequested)
        {
            return;
        }

        try
        {
            await _copier.CopyAsync(offsetBytes, lengthBytes, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested)
        {
            // The job is about to lose these data, but the write itself must not fail.
            await FailAsync(e).ConfigureAwait(false);
        }
    }
}
