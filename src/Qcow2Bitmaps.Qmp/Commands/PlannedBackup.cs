using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Qmp.Jobs;
using Qcow2Bitmaps.Qmp.Nodes;

namespace Qcow2Bitmaps.Qmp.Commands;

/// <summary>A backup that is to be started, whose target is opened late: it may be a file that is made anew.</summary>
internal sealed class PlannedBackup(
    QmpNode source, QmpJob job, BackupJobOptions options, Func<CancellationToken, Task<BackupTarget>> openTarget, bool overwritesTarget)
{
    private BackupTarget? _target;

    public QmpNode Source => source;

    public QmpJob Job => job;

    /// <summary>Whether the target is made, over what there was.</summary>
    public bool OverwritesTarget => overwritesTarget;

    /// <summary>What is asked for; until the target is open with one that takes nothing.</summary>
    public BackupJobOptions Options => options with { Target = _target ?? new UnopenedTarget(source.Session.SizeBytes) };

    public async Task OpenTargetAsync(CancellationToken cancellationToken) =>
        _target = await openTarget(cancellationToken).ConfigureAwait(false);

    /// <summary>Closes the target of a backup that was not started.</summary>
    public ValueTask CloseTargetAsync() => _target?.DisposeAsync() ?? ValueTask.CompletedTask;
}
