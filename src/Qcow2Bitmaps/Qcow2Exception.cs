using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>The base of every error that this library raises about an image.</summary>
/// <remarks>
/// Missing files, targets that exist, full file systems and failing devices raise the system's <see cref="IOException"/>. A <c>catch</c> of
/// that takes everything that is not a bug. Wrong arguments raise <see cref="ArgumentException"/>.
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
