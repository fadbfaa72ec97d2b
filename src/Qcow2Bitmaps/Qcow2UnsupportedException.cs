using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>The image is well formed, but needs something that this library does not support: another format, encryption, a refused
/// name.</summary>
public sealed class Qcow2UnsupportedException : Qcow2Exception
{
    /// <summary>Names what is not supported.</summary>
    /// <param name="reason">What kind of thing is not supported.</param>
    /// <param name="message">What the image needs, and what is possible instead.</param>
    public Qcow2UnsupportedException(UnsupportedReason reason, string message)
        : this(reason, (PrintableMessage)message)
    {
    }

    internal Qcow2UnsupportedException(UnsupportedReason reason, PrintableMessage message)
        : base(message) => Reason = reason;

    /// <summary>What kind of thing is not supported.</summary>
    public UnsupportedReason Reason { get; }
}
