namespace Qcow2Bitmaps.Images.Editing;

/// <summary>A bitmap directory that a journal relies on.</summary>
/// <param name="Offset">Its offset, in bytes from the start of the image.</param>
/// <param name="LengthBytes">Its length in bytes.</param>
/// <param name="Sha256">The hash of its bytes.</param>
internal sealed record JournalDirectory(long Offset, int LengthBytes, ReadOnlyMemory<byte> Sha256);
