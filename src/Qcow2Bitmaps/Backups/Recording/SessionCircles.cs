namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>Tracks, for the whole process, which sessions are copied to which others. Thread-safe.</summary>
/// <remarks>
/// A write copies first what it overwrites, and waits until that is written to the target, whose own jobs copy first. In a circle it would
/// wait for itself. The transactions that start its jobs need have no session in common: so this is decided under a lock of its own.
/// </remarks>
internal static class SessionCircles
{
    private static readonly Lock s_gate = new();
    private static readonly List<(RecordingSession Source, RecordingSession Target)> s_copied = [];

    /// <summary>Notes that a session is copied to another one, unless that is copied to it, be it over others.</summary>
    /// <returns>False when it is.</returns>
    public static bool TryAdd(RecordingSession source, RecordingSession target)
    {
        lock (s_gate)
        {
            bool isOpen = !Reaches(target, source);
            if (isOpen)
            {
                s_copied.Add((source, target));
            }

            return isOpen;
        }
    }

    /// <summary>Removes a record.</summary>
    public static void Remove(RecordingSession source, RecordingSession target)
    {
        lock (s_gate)
        {
            s_copied.Remove((source, target));
        }
    }

    // There are no cycles, so this terminates.
    private static bool Reaches(RecordingSession from, RecordingSession to) =>
        from == to || s_copied.Exists(copied => copied.Source == from && Reaches(copied.Target, to));
}
