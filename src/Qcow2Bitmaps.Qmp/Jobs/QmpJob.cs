using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Qmp.Nodes;

namespace Qcow2Bitmaps.Qmp.Jobs;

/// <summary>A backup as clients see it. Thread-safe.</summary>
/// <param name="options">What a client wants.</param>
/// <param name="group">The jobs that it belongs to.</param>
/// <param name="target">The image that it writes, where that is one of the server's.</param>
/// <param name="diskBytes">The size of the disk.</param>
internal sealed class QmpJob(QmpJobOptions options, QmpJobGroup group, QmpNode? target, long diskBytes)
{
    private readonly TaskCompletionSource<BackupJob> _started = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private TaskCompletionSource? _resumed;
    private Disk? _ownTarget;
    private volatile string _status = QmpJobStatus.Created;

    public string Id => options.Id;

    public BackupSync Sync => options.Sync;

    public QmpJobGroup Group => group;

    public QmpNode? Target => target;

    public bool IsFinalizedAlone => options.IsFinalizedAlone;

    public bool IsDismissedAlone => options.IsDismissedAlone;

    public string Status
    {
        get => _status;
        set => _status = value;
    }

    /// <summary>Why it failed, or that it was cancelled; null while it runs and when it has succeeded.</summary>
    public string? Error { get; set; }

    /// <summary>The job itself, once it was started.</summary>
    public Task<BackupJob> Started => _started.Task;

    /// <summary>Ends when clients have been told how the job ended.</summary>
    public Task Watch { get; set; } = Task.CompletedTask;

    public long TotalBytes => !_started.Task.IsCompletedSuccessfully ? 0
        : Sync == BackupSync.None ? diskBytes
        : _started.Task.Result.TotalBytes;

    public long CopiedBytes => _started.Task.IsCompletedSuccessfully ? _started.Task.Result.CopiedBytes : 0;

    public long BytesPerSecond
    {
        get => _started.Task.IsCompletedSuccessfully ? _started.Task.Result.BytesPerSecond : 0;
        set => _started.Task.Result.BytesPerSecond = value;
    }

    /// <summary>Whether a client has paused it.</summary>
    public bool IsPaused => _resumed is not null;

    /// <summary>Completes when it is resumed.</summary>
    public Task Resumed => _resumed?.Task ?? Task.CompletedTask;

    /// <summary>Pauses it.</summary>
    /// <returns>Whether it did not before.</returns>
    public bool TryPause()
    {
        if (_resumed is not null)
        {
            return false;
        }

        _resumed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _started.Task.Result.Pause();
        return true;
    }

    /// <summary>Resumes it.</summary>
    public void Resume()
    {
        _resumed?.SetResult();
        _resumed = null;
        _started.Task.Result.Resume();
    }

    public void Start(BackupJob job) => _started.SetResult(job);

    /// <summary>Cancels it, and with it its group. No effect if it has ended, or if its success is decided.</summary>
    public void Cancel()
    {
        if (group.TryAbort() && _started.Task.IsCompletedSuccessfully)
        {
            _started.Task.Result.Cancel();
        }
    }

    /// <summary>Takes ownership of a target that is used by this job only.</summary>
    public void Own(Disk disk) => _ownTarget = disk;

    /// <summary>Closes the owned target, once.</summary>
    /// <exception cref="IOException">It cannot be closed.</exception>
    public ValueTask CloseTargetAsync() => Interlocked.Exchange(ref _ownTarget, null)?.DisposeAsync() ?? ValueTask.CompletedTask;

    /// <summary>Closes the owned target, which is useless: the job was cancelled or failed, and that error is reported.</summary>
    public async ValueTask AbandonTargetAsync()
    {
        try
        {
            await CloseTargetAsync().ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The reported error says more.
        }
    }
}
