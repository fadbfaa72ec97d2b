using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Qmp.Jobs;
using Qcow2Bitmaps.Qmp.Protocol;

namespace Qcow2Bitmaps.Qmp.Commands;

/// <summary>Actions that are done together, or not at all. A single command is a plan of one. For one use.</summary>
internal sealed class TransactionPlan(QmpJobs jobs)
{
    private readonly List<Action<RecordingTransaction>> _steps = [];
    private readonly List<PlannedBackup> _backups = [];
    private bool _isAborted;

    /// <summary>The backups so far.</summary>
    public IReadOnlyList<PlannedBackup> Backups => _backups;

    /// <summary>The group that backups join; null when each is for itself.</summary>
    public QmpJobGroup? Group { get; init; }

    public void Add(Action<RecordingTransaction> step)
    {
        // Actions after an abort are not reached.
        if (!_isAborted)
        {
            _steps.Add(step);
        }
    }

    /// <summary>Makes the transaction fail, unless an earlier action fails first.</summary>
    public void Abort() => _isAborted = true;

    public void Add(PlannedBackup backup)
    {
        _backups.Add(backup);
        Add(transaction => transaction.Backup(backup.Source.Session, backup.Options));
    }

    /// <summary>Carries out all actions.</summary>
    /// <exception cref="QmpException">The plan contains an abort.</exception>
    /// <exception cref="Qcow2Exception">A step is refused, or a target cannot be made; only targets may have been made.</exception>
    /// <exception cref="IOException">A target cannot be made or opened.</exception>
    public async ValueTask RunAsync(CancellationToken cancellationToken)
    {
        PlannedBackup[] overwriting = [.. _backups.Where(static backup => backup.OverwritesTarget)];
        if (overwriting.Length > 0)
        {
            await CheckAsync(cancellationToken).ConfigureAwait(false);
        }

        bool isStarted = false;
        try
        {
            await OpenTargetsAsync(_backups.Except(overwriting), cancellationToken).ConfigureAwait(false);
            if (overwriting.Length > 0 && overwriting.Length < _backups.Count)
            {
                // Now what those targets are is known. A refused command destroys no file; QEMU's may.
                await CheckAsync(cancellationToken).ConfigureAwait(false);
            }

            await OpenTargetsAsync(overwriting, cancellationToken).ConfigureAwait(false);
            if (_isAborted)
            {
                await CheckAsync(cancellationToken).ConfigureAwait(false);
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
                    await backup.Job.AbandonTargetAsync().ConfigureAwait(false);
                }
            }
        }
    }

    private static async ValueTask OpenTargetsAsync(IEnumerable<PlannedBackup> backups, CancellationToken cancellationToken)
    {
        foreach (PlannedBackup backup in backups)
        {
            await backup.OpenTargetAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask CheckAsync(CancellationToken cancellationToken)
    {
        await NewTransaction().CheckAsync(cancellationToken).ConfigureAwait(false);
        if (_isAborted)
        {
            throw new QmpException("Transaction aborted using Abort action");
        }
    }

    private RecordingTransaction NewTransaction()
    {
        var transaction = new RecordingTransaction();
        _steps.ForEach(step => step(transaction));
        return transaction;
    }
}
