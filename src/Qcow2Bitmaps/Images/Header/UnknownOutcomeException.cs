using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Header;

/// <summary>A storage failed in the midst of a switch, and when it was taken back: nobody knows which of the two the image is now, so
/// nothing is freed.</summary>
#pragma warning disable RS0030 // The message is escaped.
internal sealed class UnknownOutcomeException(PrintableMessage message, Exception inner) : IOException(message, inner);
#pragma warning restore RS0030
