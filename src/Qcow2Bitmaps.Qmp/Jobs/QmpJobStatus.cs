namespace Qcow2Bitmaps.Qmp.Jobs;

/// <summary>The status of a job, as <c>query-jobs</c> shows it.</summary>
internal static class QmpJobStatus
{
    public const string Created = "created";
    public const string Running = "running";

    /// <summary>A client has paused it.</summary>
    public const string Paused = "paused";

    /// <summary>It has done its work, and waits for the rest of its group.</summary>
    public const string Waiting = "waiting";

    /// <summary>All jobs of its group have done their work. Their changes follow, or wait for a client.</summary>
    public const string Pending = "pending";

    public const string Aborting = "aborting";

    /// <summary>It has ended, and is still listed.</summary>
    public const string Concluded = "concluded";

    /// <summary>It is no longer listed.</summary>
    public const string Null = "null";
}
