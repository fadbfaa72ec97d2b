using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Qmp.Jobs;
using Qcow2Bitmaps.Qmp.Nodes;
using Qcow2Bitmaps.Qmp.Protocol;

namespace Qcow2Bitmaps.Qmp.Commands;

/// <summary>Starts backups, as commands and as actions: <c>drive-backup</c> to a file, <c>blockdev-backup</c> to an open image.</summary>
internal sealed class BackupActions(QmpNodes nodes, QmpJobs jobs, ChainOpenOptions targetOptions)
{
    private const string OldIncremental = "dirty-bitmap";

    public void AddTo(Dictionary<string, ActionReader> actions)
    {
        actions.Add("blockdev-backup", arguments =>
        {
            QmpJobOptions common = ReadCommon(arguments);
            string target = arguments.String("target");
            arguments.Finish();
            return plan =>
            {
                QmpNode source = nodes.Device(common.Device);
                QmpNode node = nodes.Device(target);
                Add(plan, common, source, node, overwritesTarget: false, _ => Task.FromResult<Disk>(node.Session));
            };
        });
        actions.Add("drive-backup", arguments =>
        {
            QmpJobOptions common = ReadCommon(arguments);
            string target = arguments.String("target");
            string? format = arguments.OptionalString("format");
            bool isThere = arguments.OptionalOneOf("mode", ("existing", true), ("absolute-paths", false)) ?? false;
            arguments.Finish();
            return plan =>
            {
                QmpNode source = nodes.Device(common.Device);
                if (format is not (null or ImageFormat.Qcow2 or ImageFormat.Raw))
                {
                    throw new QmpException(
                        ImageFormat.IsKnown(format)
                            ? $"Images of format '{format}' are not made here; the formats are qcow2 and raw"
                            : $"Unknown file format '{format}'");
                }

                if (target.Length == 0 || target.Contains('\0', StringComparison.Ordinal))
                {
                    throw new QmpException($"Could not open '{target}': No such file or directory");
                }

                if (!isThere && common.Compresses && format is ImageFormat.Raw)
                {
                    throw new QmpException("Compression is not supported for this drive ");
                }

                if (!isThere && common.Sync == BackupSync.None)
                {
                    throw new QmpException(
                        "sync mode 'none' into a new file, which would be backed by the image that is being written, is not supported: "
                        + "use mode 'existing'");
                }

                // QEMU's rule: without a backing file, the top image is the whole disk, so the target's old content must be removed.
                bool isWhole = common.Sync == BackupSync.Top && source.Session.Chain.Layers.Count == 1;
                Add(
                    plan, isWhole ? common with { Sync = BackupSync.Full } : common, source, target: null, !isThere,
                    async cancellationToken =>
                {
                    if (isThere)
                    {
                        return await ImageChain.OpenWriterAsync(target, format, targetOptions, cancellationToken).ConfigureAwait(false);
                    }

                    return await source.Session.CreateTargetAsync(
                        target, format ?? ImageFormat.Qcow2, common.Sync == BackupSync.Top, cancellationToken).ConfigureAwait(false);
                });
            };
        });
    }

    private static QmpJobOptions ReadCommon(QmpArguments arguments)
    {
        string? id = arguments.OptionalString("job-id");
        string device = arguments.String("device");
        BackupSync sync = arguments.OneOf(
            "sync",
            ("top", BackupSync.Top), ("full", BackupSync.Full), ("none", BackupSync.None), ("incremental", BackupSync.Incremental),
            ("bitmap", BackupSync.Bitmap), (OldIncremental, BackupSync.Incremental));
        if (arguments.OptionalString("sync") is OldIncremental)
        {
            arguments.Warn($"sync mode '{OldIncremental}' is a name from before QEMU 2.4; taken as 'incremental'");
        }

        long? speed = arguments.OptionalInteger("speed");
        string? bitmap = arguments.OptionalString("bitmap");
        BitmapSyncMode? mode = arguments.OptionalOneOf(
            "bitmap-mode", ("on-success", BitmapSyncMode.OnSuccess), ("never", BitmapSyncMode.Never), ("always", BitmapSyncMode.Always));
        bool compresses = arguments.OptionalBoolean("compress") ?? false;
        string? unsupported = ReadOnError(arguments, "on-source-error") ?? ReadOnError(arguments, "on-target-error");
        bool isFinalizedAlone = arguments.OptionalBoolean("auto-finalize") ?? true;
        bool isDismissedAlone = arguments.OptionalBoolean("auto-dismiss") ?? true;
        foreach (string ignored in (ReadOnlySpan<string>)["filter-node-name", "x-perf"])
        {
            if (arguments.Has(ignored))
            {
                arguments.Warn($"parameter '{ignored}' has no meaning here; ignored");
            }
        }

        return unsupported is null
            ? new QmpJobOptions
            {
                Id = id ?? device,
                Device = device,
                Sync = sync,
                Bitmap = bitmap,
                BitmapMode = mode,
                BytesPerSecond = speed ?? 0,
                Compresses = compresses,
                IsFinalizedAlone = isFinalizedAlone,
                IsDismissedAlone = isDismissedAlone,
            }
            : throw new QmpException(unsupported);
    }

    /// <summary>Reads what to do if reading or writing fails.</summary>
    /// <returns>Why that is impossible; null if it is possible.</returns>
    private static string? ReadOnError(QmpArguments arguments, string name)
    {
        const string Report = "report";
        return arguments.OptionalOneOf(name, (Report, true), ("ignore", false), ("enospc", false), ("stop", false), ("auto", false)) ?? true
            ? null
            : $"Parameter '{name}' does not support '{arguments.OptionalString(name)}' here: only '{Report}', which ends the job";
    }

    private void Add(
        TransactionPlan plan, QmpJobOptions common, QmpNode source, QmpNode? target, bool overwritesTarget,
        Func<CancellationToken, Task<Disk>> openTarget)
    {
        foreach (QmpNode? node in (ReadOnlySpan<QmpNode?>)[source, target])
        {
            if (node is not null && (jobs.IsTarget(node) || plan.Backups.Any(other => other.Job.Target == node)))
            {
                throw new QmpException($"Node '{node.Name}' is busy: block device is in use by block job: backup");
            }
        }

        if (!QmpNodes.IsId(common.Id))
        {
            throw new QmpException($"Invalid job ID '{common.Id}'");
        }

        if (jobs.Find(common.Id) is not null || plan.Backups.Any(other => string.Equals(other.Job.Id, common.Id, StringComparison.Ordinal)))
        {
            throw new QmpException($"Job ID '{common.Id}' already in use");
        }

        if (common.BytesPerSecond < 0)
        {
            throw new QmpException("Parameter 'speed' expects a non-negative value");
        }

        var job = new QmpJob(common, plan.Group ?? new QmpJobGroup(), target, source.Session.SizeBytes);
        job.Group.Add(job);
        var options = new BackupJobOptions
        {
            Sync = common.Sync,
            Target = new UnopenedTarget(source.Session.SizeBytes),
            Bitmap = common.Bitmap,
            BitmapMode = common.BitmapMode,
            BytesPerSecond = common.BytesPerSecond,
            Compress = common.Compresses,
            BeforeCompletion = cancellationToken => jobs.CompleteAsync(job, cancellationToken),
        };
        plan.Add(new PlannedBackup(source, job, options, openTarget, overwritesTarget));
    }
}
