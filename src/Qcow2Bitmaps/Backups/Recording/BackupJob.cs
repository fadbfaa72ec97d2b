using System.Diagnostics;

namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>A backup that runs beside the writes of a session. The target becomes what the disk was when the job began.</summary>
/// <remarks>
/// <para>
/// What is about to be overwritten is copied first: such a write waits for the target. When that fails the job fails, and the write goes
/// on: a backup that is lost can be made again (QEMU fails the write).
/// </para>
/// <para>Thread-safe.</para>
/// </remarks>
public sealed class BackupJob : IAsyncDisposable
{
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(20);

    private static long s_jobs;

    private readonly RecordingSession _session;
    private readonly BackupJobOptions _options;
    private readonly BackupSync _sync;
    private readonly LiveBitmap? _bitmap;
    private readonly BitmapSyncMode _mode;
    private readonly UnitCopier _copier;
    private readonly CancellationTokenSource _stop = new();
    private readonly CancellationToken _stopped;
    private readonly TaskCompletionSource<BackupJobState> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    // Protects the error, and whether the job stands still.
    private readonly Lock _gate = new();
    private Exception? _error;
    private TaskCompletionSource? _resumed;
    private bool _isCancelled;
    private bool _isTargetClosed;
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

    /// <summary>A number that no other job of the process has.</summary>
    public long Number { get; } = Interlocked.Increment(ref s_jobs);

    /// <summary>What the job was asked to do.</summary>
    public BackupJobOptions Options => _options;

    /// <summary>Where the job stands. What becomes of the bitmap is decided when it no longer runs.</summary>
    public BackupJobState State => _ended.Task.IsCompletedSuccessfully ? _ended.Task.Result : BackupJobState.Running;

    /// <summary>What made the job fail; null unless it did.</summary>
    public Exception? Error => State == BackupJobState.Failed ? _error : null;

    /// <summary>
    /// Whether it was reading the disk that made the job fail; else it was writing the target, or what the job waited for.
    /// </summary>
    public bool HasSourceFailed => Error is { } error && ReferenceEquals(error, _copier.SourceError);

    /// <summary>Whether the job stands still until it is resumed. Writes still push old data out of their way meanwhile.</summary>
    public bool IsPaused
    {
        get
        {
            lock (_gate)
            {
                return _resumed is not null;
            }
        }
    }

    /// <summary>How many bytes are copied.</summary>
    public long CopiedBytes => _copier.CopiedBytes;

    /// <summary>How many bytes there were to copy when the job began, in units of at least 64 KiB, cut at the disk's end.</summary>
    public long TotalBytes => _copier.TotalBytes;

    /// <summary>How many bytes are copied in a second; 0 for as many as it goes.</summary>
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

    /// <summary>Asks the job to end. It has ended when <see cref="WaitAsync"/> says so, and may have completed by then.</summary>
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

    /// <summary>Lets the job stand still, once what it has begun is copied. Without effect when it does already.</summary>
    public void Pause()
    {
        lock (_gate)
        {
            _resumed ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }

    /// <summary>Lets the job go on. Without effect when it was not paused.</summary>
    public void Resume()
    {
        lock (_gate)
        {
            _resumed?.SetResult();
            _resumed = null;
        }
    }

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

    /// <summary>Finds what is to be copied. For who is alone in the session.</summary>
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

    /// <summary>Begins to copy. From now on writes ask for <see cref="CopyBeforeWriteAsync"/>. For who is alone in the session.</summary>
    internal void Start()
    {
        _session.Attach(this);
        _ = Task.Run(RunAsync);
    }

    /// <summary>Copies what is about to be overwritten and was not copied yet.</summary>
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
            // The data are about to be lost for the job; nothing can be wrong with the write.
            await FailAsync(e).ConfigureAwait(false);
        }
    }

    private async Task RunAsync()
    {
        try
        {
            if (_sync == BackupSync.None)
            {
                await Task.Delay(Timeout.Infinite, _stopped).ConfigureAwait(false);
            }

            await CopyAllAsync().ConfigureAwait(false);
            await WaitWhilePausedAsync().ConfigureAwait(false);
            _hasBegunToFlush = true;
            await _options.Target.FlushAsync(_stopped).ConfigureAwait(false);
            // Nothing is left that a write could push here. A target that cannot be closed is no backup.
            await CloseTargetAsync().ConfigureAwait(false);
            _isTargetDurable = true;
            if (_options.BeforeCompletion is { } wait)
            {
                await wait(_stopped).ConfigureAwait(false);
            }
        }
        catch (Exception e)
        {
            await FailAsync(e).ConfigureAwait(false);
            await KeepCopiedAsync().ConfigureAwait(false);
        }

        BackupJobState state = BackupJobState.Failed;
        try
        {
            try
            {
                await _session.FinishAsync(
                    this,
                    _bitmap,
                    _mode,
                    () =>
                    {
                        lock (_gate)
                        {
                            state = _error is null ? BackupJobState.Completed
                                : _isCancelled && _error is OperationCanceledException ? BackupJobState.Cancelled
                                : BackupJobState.Failed;
                            return state == BackupJobState.Completed;
                        }
                    },
                    _copier.Remaining).ConfigureAwait(false);
            }
            catch (Exception e) when (state != BackupJobState.Completed && e is IOException or Qcow2Exception)
            {
                // The image cannot be marked; the next write, checkpoint or close tries again. What made the job fail is told.
            }

            await _copier.ForgetAsync().ConfigureAwait(false);
            await CloseTargetAsync().ConfigureAwait(false);
        }
        catch (Exception e) when (state != BackupJobState.Completed && e is IOException or Qcow2Exception)
        {
            // The target cannot be closed. It is of no use already, and what made it so is told.
        }
        finally
        {
            _session.LeaveTarget(_options);
            _ended.SetResult(state);
        }
    }

    /// <summary>
    /// Makes durable what a job that did not complete has copied, where its bitmap is to forget that. What
    /// cannot be made durable was not copied.
    /// </summary>
    private async ValueTask KeepCopiedAsync()
    {
        if (_bitmap is null || _mode != BitmapSyncMode.Always || _isTargetDurable)
        {
            return;
        }

        await _copier.SettleAsync().ConfigureAwait(false);
        // A file's error is told once: after a flush that failed, another one would succeed.
        bool isKept = !_hasBegunToFlush;
        if (isKept)
        {
            try
            {
                await _options.Target.FlushAsync(CancellationToken.None).ConfigureAwait(false);
            }
            catch (Exception e)
            {
                isKept = false;
                await FailAsync(e).ConfigureAwait(false);
            }
        }

        if (!isKept)
        {
            _copier.TakeBack(_sync == BackupSync.Bitmap ? _bitmap.Bits : null);
        }
    }

    private async ValueTask CloseTargetAsync()
    {
        if (!_isTargetClosed && !_options.LeavesTargetOpen)
        {
            _isTargetClosed = true;
            await _options.Target.DisposeAsync().ConfigureAwait(false);
        }
    }

    private async Task CopyAllAsync()
    {
        var clock = Stopwatch.StartNew();
        for (long at = 0; _copier.Next(at) is { } next;)
        {
            if (IsPaused)
            {
                // Who writes meanwhile may copy this.
                await WaitWhilePausedAsync().ConfigureAwait(false);
                continue;
            }

            at = await _copier.CopyZerosAsync(next.Start).ConfigureAwait(false);
            if (at == next.Start)
            {
                await _copier.CopyAsync(next.Start, next.End - next.Start, _stopped).ConfigureAwait(false);
                at = next.End;
            }

            // The speed may change meanwhile.
            while (BytesPerSecond is > 0 and long speed && clock.Elapsed.TotalSeconds < (double)(at - next.Start) / speed)
            {
                await Task.Delay(s_pause, _stopped).ConfigureAwait(false);
            }

            clock.Restart();
        }
    }

    private async ValueTask WaitWhilePausedAsync()
    {
        while (true)
        {
            Task resumed;
            lock (_gate)
            {
                if (_resumed is null)
                {
                    return;
                }

                resumed = _resumed.Task;
            }

            await resumed.WaitAsync(_stopped).ConfigureAwait(false);
        }
    }

    private async ValueTask FailAsync(Exception e)
    {
        lock (_gate)
        {
            _error ??= e;
        }

        await _stop.CancelAsync().ConfigureAwait(false);
    }
}
