using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>The image is well formed, but needs something that this library does not support: another format, encryption, a refused
/// name.</summary>
public sealed class Qcow2UnsupportedException : Qcow2Exception
{
    internal Qcow2UnsupportedException(UnsupportedReason reason, PrintableMessage message)
        : base(message) => Reason = reason;

    /// <summary>What is not supported, as programs should read it: an id of <c>docs/errors.md</c>, for example <c>preallocation</c>. It
    /// keeps its meaning in all versions.</summary>
    public string Id => KebabCase.From(Reason.ToString());

    internal UnsupportedReason Reason { get; }
}
