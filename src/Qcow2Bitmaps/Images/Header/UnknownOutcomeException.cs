using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Header;

/// <summary>A storage failed during a switch and again while it was reverted: it is unknown whether the image has its old or its new state,
/// so nothing is freed.</summary>
#pragma warning disable RS0030 // The message is escaped.
internal sealed class UnknownOutcomeException(PrintableMessage message, Exception inner) : IOException(message, inner);
#pragma warning restore RS0030
