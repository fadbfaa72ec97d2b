namespace Qcow2Bitmaps.Images.Header;

/// <summary>A storage failed in the midst of a switch, and when it was taken back: nobody knows which of the two the image is now, so nothing is freed.</summary>
internal sealed class UnknownOutcomeException(string message, Exception inner) : IOException(message, inner);
