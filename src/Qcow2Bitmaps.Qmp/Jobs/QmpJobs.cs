using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Qmp.Nodes;
using Qcow2Bitmaps.Qmp.Protocol;

namespace Qcow2Bitmaps.Qmp.Jobs;

/// <summary>The jobs, and what clients are told about them. Thread-safe.</summary>
internal sealed partial class QmpJobs(QmpEvents events)
{
    private const string Type = "backup";
    private const string Cancelled = "Operation canceled";

    private readonly Lock _gate = new();
    private readonly List<QmpJob> _jobs = [];

    /// <summary>All that are listed, the newest first, as QEMU lists them.</summary>
    public IReadOnlyList<QmpJob> All
    {
        get
        {
            lock (_gate)
            {
                return [.. Enumerable.Reverse(_jobs)];
            }
        }
    }

    public QmpJob? Find(string id)
    {
        lock (_gate)
        {
            return _jobs.Find(job => string.Equals(job.Id, id, StringComparison.Ordinal));
        }
    }

    /// <summary>Whether a job that has not ended writes an image.</summary>
    public bool IsTarget(QmpNode node) => All.Any(job => job.Target == node && job.Status is not QmpJobStatus.Concluded);

    /// <summary>Runs when a job has copied everything: closes its target, waits for its group, and for a client if needed.</summary>
    public async ValueTask CompleteAsync(QmpJob job, CancellationToken cancellationToken)
    {
        // A target that cannot be closed is no backup.
        await job.CloseTargetAsync().ConfigureAwait(false);
        await job.Started.ConfigureAwait(false);
        while (!TryMoveToWaiting(job, out Task resumed))
        {
            await resumed.WaitAsync(cancellationToken).ConfigureAwait(false);
        }

        await job.Group.DoneAsync(cancellationToken).ConfigureAwait(false);
        Move(job, QmpJobStatus.Pending);
        if (!job.IsFinalizedAlone)
        {
            events.Post("BLOCK_JOB_PENDING", writer =>
            {
                writer.WriteStartObject();
                writer.WriteString("type", Type);
                writer.WriteString("id", job.Id);
                writer.WriteEndObject();
            });
        }

        await job.Group.FinalizedAsync(cancellationToken).ConfigureAwait(false);
        if (!job.Group.TryCommit())
        {
            // Another one was cancelled, and this one will be.
            await Task.Delay(Timeout.Infinite, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Pauses a job.</summary>
    /// <param name="job">The job.</param>
    /// <param name="require">Refuses a status that does not allow a verb.</param>
    /// <exception cref="QmpException">It does already, or has done its work.</exception>
    public void Pause(QmpJob job, Action<QmpJob, string> require)
    {
        lock (job)
        {
            require(job, "pause");
            if (!job.TryPause())
            {
                throw new QmpException("Job is already paused");
            }

            Move(job, QmpJobStatus.Paused);
        }
    }

    /// <summary>Resumes a job.</summary>
    /// <param name="job">The job.</param>
    /// <param name="require">Refuses a status that does not allow a verb.</param>
    /// <exception cref="QmpException">It was not paused.</exception>
    public void Resume(QmpJob job, Action<QmpJob, string> require)
    {
        lock (job)
        {
            if (!job.IsPaused)
            {
                throw new QmpException("Can't resume a job that was not paused");
            }

            require(job, "resume");
            Move(job, QmpJobStatus.Running);
            job.Resume();
        }
    }

    /// <summary>Lists a job that has been started.</summary>
    public void Start(QmpJob job, BackupJob backup)
    {
        lock (_gate)
        {
            _jobs.Add(job);
        }

        Move(job, QmpJobStatus.Created);
        Move(job, QmpJobStatus.Running);
        job.Start(backup);
        if (job.Group.IsAborted)
        {
            job.Cancel();
        }

        job.Watch = WatchAsync(job, backup);
    }

    /// <summary>No longer lists a job that has ended.</summary>
    public void Dismiss(QmpJob job)
    {
        lock (_gate)
        {
            _jobs.Remove(job);
        }

        Move(job, QmpJobStatus.Null);
    }

    /// <summary>Waits until all jobs have ended, once no more start. Cancels those that do not end by themselves, or all.</summary>
    public async Task EndAsync(bool cancelsAll)
    {
        IReadOnlyList<QmpJob> jobs = All;
        foreach (QmpJob job in jobs)
        {
            if (cancelsAll || !job.IsFinalizedAlone || job.IsPaused || job.Sync == BackupSync.None)
            {
                job.Cancel();
            }
        }

        foreach (QmpJob job in jobs)
        {
            await job.Watch.ConfigureAwait(false);
        }
    }

    private async Task WatchAsync(QmpJob job, BackupJob backup)
    {
        BackupJobState state = await backup.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        await job.AbandonTargetAsync().ConfigureAwait(false);
        if (job.Status is QmpJobStatus.Paused)
        {
            // It was cancelled, and so continues to its end.
            Move(job, QmpJobStatus.Running);
        }

        if (state == BackupJobState.Failed)
        {
            events.Post("BLOCK_JOB_ERROR", writer =>
            {
                writer.WriteStartObject();
                writer.WriteString("device", job.Id);
                writer.WriteString("operation", backup.HasSourceFailed ? "read" : "write");
                writer.WriteString("action", "report");
                writer.WriteEndObject();
            });
        }

        if (state != BackupJobState.Completed)
        {
            job.Error = state == BackupJobState.Cancelled ? Cancelled : backup.Error?.Message ?? "Input/output error";
            Move(job, QmpJobStatus.Aborting);
            job.Group.Abort();
        }

        events.Post(state == BackupJobState.Cancelled ? "BLOCK_JOB_CANCELLED" : "BLOCK_JOB_COMPLETED", writer =>
        {
            writer.WriteStartObject();
            writer.WriteString("device", job.Id);
            writer.WriteNumber("len", job.TotalBytes);
            writer.WriteNumber("offset", job.CopiedBytes);
            writer.WriteNumber("speed", job.BytesPerSecond);
            writer.WriteString("type", Type);
            if (state == BackupJobState.Failed)
            {
                writer.WriteString("error", job.Error);
            }

            writer.WriteEndObject();
        });
        Move(job, QmpJobStatus.Concluded);
        if (job.IsDismissedAlone)
        {
            Dismiss(job);
        }
    }

    private bool TryMoveToWaiting(QmpJob job, out Task resumed)
    {
        lock (job)
        {
            resumed = job.Resumed;
            if (job.IsPaused)
            {
                return false;
            }

            Move(job, QmpJobStatus.Waiting);
            return true;
        }
    }

    private void Move(QmpJob job, string status)
    {
        job.Status = status;
        events.Post("JOB_STATUS_CHANGE", writer =>
        {
            writer.WriteStartObject();
            writer.WriteString("status", status);
            writer.WriteString("id", job.Id);
            writer.WriteEndObject();
        });
    }
}
