using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>The base of every error that this library raises about an image.</summary>
/// <remarks>
/// Missing files, targets that exist, full file systems and failing devices raise the system's <see cref="IOException"/>, permissions
/// <see cref="UnauthorizedAccessException"/>: any call that opens or makes a file may. Catching both takes everything that is not a bug,
/// but for <see cref="OperationCanceledException"/> of a cancelled call. Wrong arguments raise <see cref="ArgumentException"/>, and a call
/// at the wrong time (a second writer, an edit while a session has the bitmaps, a second run) <see cref="InvalidOperationException"/>.
/// </remarks>
public abstract class Qcow2Exception : IOException
{
    private protected Qcow2Exception(PrintableMessage message, Exception? innerException = null)
#pragma warning disable RS0030 // The message is escaped.
        : base(message, innerException)
#pragma warning restore RS0030
    {
    }

    /// <summary>What helps, for programs to word; null where nothing special does.</summary>
    public Remedy? Remedy { get; internal init; }
}
