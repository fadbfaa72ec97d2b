using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Qmp.Jobs;

namespace Qcow2Bitmaps.Qmp.Commands;

/// <summary>Actions that are done together, or not at all. A single command is a plan of one. For one use.</summary>
internal sealed class TransactionPlan(QmpJobs jobs)
{
    private readonly List<Action<RecordingTransaction>> _steps = [];
    private readonly List<PlannedBackup> _backups = [];

    /// <summary>The backups so far.</summary>
    public IReadOnlyList<PlannedBackup> Backups => _backups;

    /// <summary>The group that backups join; null when each is for itself.</summary>
    public QmpJobGroup? Group { get; init; }

    public void Add(Action<RecordingTransaction> step) => _steps.Add(step);

    public void Add(PlannedBackup backup)
    {
        _backups.Add(backup);
        _steps.Add(transaction => transaction.Backup(backup.Source.Session, backup.Options));
    }

    /// <summary>Carries out all actions.</summary>
    /// <exception cref="Qcow2Exception">A step is refused, or a target cannot be made; only targets may have been made.</exception>
    /// <exception cref="IOException">A target cannot be made or opened.</exception>
    public async ValueTask RunAsync(CancellationToken cancellationToken)
    {
        if (_backups.Exists(static backup => backup.OverwritesTarget))
        {
            await TryAsync(cancellationToken).ConfigureAwait(false);
        }

        bool isStarted = false;
        try
        {
            foreach (PlannedBackup backup in _backups)
            {
                await backup.OpenTargetAsync(cancellationToken).ConfigureAwait(false);
            }

            IReadOnlyList<BackupJob> started = await NewTransaction().CommitAsync(cancellationToken).ConfigureAwait(false);
            isStarted = true;
            foreach ((PlannedBackup backup, BackupJob job) in _backups.Zip(started))
            {
                jobs.Start(backup.Job, job);
            }
        }
        finally
        {
            if (!isStarted)
            {
                foreach (PlannedBackup backup in _backups)
                {
                    await backup.CloseTargetAsync().ConfigureAwait(false);
                }
            }
        }
    }

    /// <summary>Checks whether all actions would be accepted, so that a refused command destroys no file. QEMU does not.</summary>
    private async ValueTask TryAsync(CancellationToken cancellationToken)
    {
        try
        {
            await NewTransaction().Abort(_backups[0].Source.Session).CommitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (BitmapStateException e) when (e.Operation is RecordingTransaction.AbortOperation)
        {
            // Only this was refused.
        }
    }

    private RecordingTransaction NewTransaction()
    {
        var transaction = new RecordingTransaction();
        _steps.ForEach(step => step(transaction));
        return transaction;
    }
}
