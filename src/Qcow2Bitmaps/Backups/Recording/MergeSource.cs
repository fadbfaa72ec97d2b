namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>A bitmap that is merged into another one: one of the same session, one of another session, or bits in memory.</summary>
public readonly record struct MergeSource
{
    private MergeSource(string name, RecordingSession? session, DirtyBitmap? bits)
    {
        Name = name;
        Session = session;
        Bits = bits;
    }

    /// <summary>The bitmap's name; empty for bits in memory.</summary>
    internal string Name { get; }

    /// <summary>The bitmap's session; null for the session of the destination bitmap.</summary>
    internal RecordingSession? Session { get; }

    /// <summary>The bits; null for a session's bitmap.</summary>
    internal DirtyBitmap? Bits { get; }

    /// <summary>A bitmap of the destination bitmap's session.</summary>
    /// <param name="name">Its name.</param>
    public static MergeSource Of(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return new MergeSource(name, null, null);
    }

    /// <summary>A bitmap of another session.</summary>
    /// <param name="session">The session.</param>
    /// <param name="name">The bitmap's name.</param>
    public static MergeSource Of(RecordingSession session, string name)
    {
        ArgumentNullException.ThrowIfNull(session);
        ArgumentNullException.ThrowIfNull(name);
        return new MergeSource(name, session, null);
    }

    /// <summary>Bits in memory, for example those of another image. They must not change until the merge is done.</summary>
    /// <param name="bits">The bits.</param>
    public static MergeSource Of(DirtyBitmap bits)
    {
        ArgumentNullException.ThrowIfNull(bits);
        return new MergeSource("", null, bits);
    }
}
