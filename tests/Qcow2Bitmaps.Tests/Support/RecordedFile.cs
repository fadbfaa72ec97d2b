namespace Qcow2Bitmaps.Tests.Support;

/// <summary>A file as it is at some moment.</summary>
/// <param name="Content">Its bytes.</param>
/// <param name="LastWrite">When it was written last, in nanoseconds since 1970.</param>
internal sealed record RecordedFile(byte[] Content, Int128 LastWrite);
