namespace Qcow2Bitmaps.Qmp.Jobs;

/// <summary>Jobs that succeed together or not at all; most are a group of one. Thread-safe.</summary>
internal sealed class QmpJobGroup
{
    private readonly TaskCompletionSource _allDone = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _finalized = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<QmpJob> _jobs = [];
    // Protects how the group ends, which is decided once.
    private readonly Lock _gate = new();
    private int _working;
    private bool _isAborted;
    private bool _isCommitted;

    /// <summary>Whether one has failed or is cancelled.</summary>
    public bool IsAborted
    {
        get
        {
            lock (_gate)
            {
                return _isAborted;
            }
        }
    }

    /// <summary>Adds a job, before any of them runs.</summary>
    public void Add(QmpJob job)
    {
        _jobs.Add(job);
        _working++;
    }

    /// <summary>Reports that a job has done its work, and waits until all have.</summary>
    public Task DoneAsync(CancellationToken cancellationToken)
    {
        if (Interlocked.Decrement(ref _working) == 0)
        {
            _allDone.SetResult();
        }

        return _allDone.Task.WaitAsync(cancellationToken);
    }

    /// <summary>Waits until a client finalizes the group, if one must.</summary>
    public Task FinalizedAsync(CancellationToken cancellationToken) =>
        _jobs.Exists(static job => !job.IsFinalizedAlone) ? _finalized.Task.WaitAsync(cancellationToken) : Task.CompletedTask;

    /// <summary>Decides that all succeed: from now on none can be cancelled.</summary>
    /// <returns>False when one has failed or is cancelled: all are about to be.</returns>
    public bool TryCommit()
    {
        lock (_gate)
        {
            _isCommitted |= !_isAborted;
            return _isCommitted;
        }
    }

    /// <summary>Decides that none succeeds.</summary>
    /// <returns>False when it is decided that all do.</returns>
    public bool TryAbort()
    {
        lock (_gate)
        {
            _isAborted |= !_isCommitted;
            return _isAborted;
        }
    }

    /// <summary>Finalizes the group.</summary>
    public void FinalizeJobs() => _finalized.TrySetResult();

    /// <summary>Cancels the others: one has failed, or was cancelled.</summary>
    public void Abort()
    {
        if (TryAbort())
        {
            foreach (QmpJob job in _jobs)
            {
                job.Cancel();
            }
        }
    }
}
