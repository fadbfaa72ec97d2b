using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Qmp.Jobs;
using Qcow2Bitmaps.Qmp.Nodes;

namespace Qcow2Bitmaps.Qmp.Commands;

/// <summary>A backup that is about to start. Its target is opened late, because it may be a file that is overwritten.</summary>
internal sealed class PlannedBackup(
    QmpNode source, QmpJob job, BackupJobOptions options, Func<CancellationToken, Task<Disk>> openTarget, bool overwritesTarget)
{
    private Disk? _target;

    public QmpNode Source => source;

    public QmpJob Job => job;

    /// <summary>Whether the target is created, overwriting an existing one.</summary>
    public bool OverwritesTarget => overwritesTarget;

    /// <summary>The options. Until the target is open, they have a placeholder for it.</summary>
    public BackupJobOptions Options => options with { Target = _target ?? new UnopenedTarget(source.Session.SizeBytes) };

    public async Task OpenTargetAsync(CancellationToken cancellationToken)
    {
        _target = await openTarget(cancellationToken).ConfigureAwait(false);
        if (job.Target is null)
        {
            job.Own(_target);
        }
    }
}
