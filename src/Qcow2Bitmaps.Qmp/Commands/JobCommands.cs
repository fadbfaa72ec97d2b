using Qcow2Bitmaps.Qmp.Jobs;
using Qcow2Bitmaps.Qmp.Protocol;

namespace Qcow2Bitmaps.Qmp.Commands;

/// <summary>Commands on existing jobs: as jobs, and as block jobs, the older form in QEMU.</summary>
internal static class JobCommands
{
    public static void AddTo(QmpCommands commands, QmpJobs jobs)
    {
        Query("query-jobs", jobs.WriteJobs);
        Query("query-block-jobs", jobs.WriteBlockJobs);
        Verb("job-cancel", "cancel", "id", isBlockJob: false, static job => job.Cancel());
        Verb("job-dismiss", "dismiss", "id", isBlockJob: false, jobs.Dismiss);
        Verb("job-finalize", "finalize", "id", isBlockJob: false, static job => job.Group.FinalizeJobs());
        Verb("job-complete", "complete", "id", isBlockJob: false, Complete);
        Verb("block-job-complete", "complete", "device", isBlockJob: true, Complete);
        foreach ((string prefix, string parameter, bool isBlockJob)
            in ((string, string, bool)[])[("job", "id", false), ("block-job", "device", true)])
        {
            Simple(prefix + "-pause", parameter, id => jobs.Pause(Find(jobs, id, isBlockJob), RequireStatus));
            Simple(prefix + "-resume", parameter, id => jobs.Resume(Find(jobs, id, isBlockJob), RequireStatus));
        }

        Verb("block-job-dismiss", "dismiss", "id", isBlockJob: true, jobs.Dismiss);
        Verb("block-job-finalize", "finalize", "id", isBlockJob: true, static job => job.Group.FinalizeJobs());
        commands.Add("block-job-cancel", (arguments, _) =>
        {
            string id = arguments.String("device");
            arguments.OptionalBoolean("force");
            arguments.Finish();
            Require(jobs, id, "cancel", isBlockJob: true).Cancel();
            return ValueTask.FromResult<QmpResult?>(null);
        });
        commands.Add("block-job-set-speed", (arguments, _) =>
        {
            string id = arguments.String("device");
            long speed = arguments.Integer("speed");
            arguments.Finish();
            QmpJob job = Require(jobs, id, "set-speed", isBlockJob: true);
            job.BytesPerSecond = speed >= 0 ? speed : throw new QmpException("Parameter 'speed' expects a non-negative value");
            return ValueTask.FromResult<QmpResult?>(null);
        });

        void Query(string name, QmpResult result) => commands.Add(name, (arguments, _) =>
        {
            arguments.Finish();
            return ValueTask.FromResult<QmpResult?>(result);
        });

        void Verb(string name, string verb, string parameter, bool isBlockJob, Action<QmpJob> action) =>
            Simple(name, parameter, id => action(Require(jobs, id, verb, isBlockJob)));

        void Simple(string name, string parameter, Action<string> action) => commands.Add(name, (arguments, _) =>
        {
            string id = arguments.String(parameter);
            arguments.Finish();
            action(id);
            return ValueTask.FromResult<QmpResult?>(null);
        });

        // A backup is never ready to complete: it has nothing to switch over to.
        static void Complete(QmpJob job) => RequireStatus(job, "complete");
    }

    private static QmpJob Find(QmpJobs jobs, string id, bool isBlockJob) => jobs.Find(id) ?? throw (isBlockJob
        ? new QmpException($"Block job '{id}' not found", QmpErrorClass.DeviceNotActive)
        : new QmpException("Job not found"));

    private static QmpJob Require(QmpJobs jobs, string id, string verb, bool isBlockJob)
    {
        QmpJob job = Find(jobs, id, isBlockJob);
        RequireStatus(job, verb);
        return job;
    }

    private static void RequireStatus(QmpJob job, string verb)
    {
        string status = job.Status;
        bool isPossible = verb switch
        {
            "dismiss" => status is QmpJobStatus.Concluded,
            "finalize" => status is QmpJobStatus.Pending,
            "complete" => false,
            "cancel" =>
                status is QmpJobStatus.Created or QmpJobStatus.Running or QmpJobStatus.Paused or QmpJobStatus.Waiting
                    or QmpJobStatus.Pending,
            _ => status is QmpJobStatus.Created or QmpJobStatus.Running or QmpJobStatus.Paused,
        };
        if (!isPossible)
        {
            throw new QmpException($"Job '{job.Id}' in state '{status}' cannot accept command verb '{verb}'");
        }
    }
}
