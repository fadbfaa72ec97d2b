namespace Qcow2Bitmaps.Qmp.Jobs;

/// <summary>Where a job stands, as <c>query-jobs</c> calls it.</summary>
internal static class QmpJobStatus
{
    public const string Created = "created";
    public const string Running = "running";

    /// <summary>A client lets it stand still.</summary>
    public const string Paused = "paused";

    /// <summary>It has done its work, and waits for the others of its group.</summary>
    public const string Waiting = "waiting";

    /// <summary>All of its group have done theirs; what they change is changed next, when nobody has to say so first.</summary>
    public const string Pending = "pending";

    public const string Aborting = "aborting";

    /// <summary>It has ended, and is still listed.</summary>
    public const string Concluded = "concluded";

    /// <summary>It is no longer listed.</summary>
    public const string Null = "null";
}
