namespace Qcow2Bitmaps.Qmp.Jobs;

/// <summary>Jobs that succeed together or not at all; most are a group of one. Thread-safe.</summary>
internal sealed class QmpJobGroup
{
    private readonly TaskCompletionSource _allDone = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _finalized = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<QmpJob> _jobs = [];
    private int _working;
    private volatile bool _isAborted;

    /// <summary>Whether one has failed or was cancelled.</summary>
    public bool IsAborted => _isAborted;

    /// <summary>Takes a job in; before any of them runs.</summary>
    public void Add(QmpJob job)
    {
        _jobs.Add(job);
        _working++;
    }

    /// <summary>Says that a job has done its work, and waits until all have.</summary>
    public Task DoneAsync(CancellationToken cancellationToken)
    {
        if (Interlocked.Decrement(ref _working) == 0)
        {
            _allDone.SetResult();
        }

        return _allDone.Task.WaitAsync(cancellationToken);
    }

    /// <summary>Waits until a client lets the group end, where one has to.</summary>
    public Task FinalizedAsync(CancellationToken cancellationToken) => _jobs.Exists(static job => !job.IsFinalizedAlone) ? _finalized.Task.WaitAsync(cancellationToken) : Task.CompletedTask;

    /// <summary>Lets the group end.</summary>
    public void FinalizeJobs() => _finalized.TrySetResult();

    /// <summary>Cancels the others: one has failed, or was cancelled.</summary>
    public void Abort()
    {
        _isAborted = true;
        foreach (QmpJob job in _jobs)
        {
            job.Cancel();
        }
    }
}
