namespace Qcow2Bitmaps.Images;

/// <summary>A part of the disk that an image has in one way.</summary>
/// <param name="OffsetBytes">Where it starts on the disk, in bytes.</param>
/// <param name="LengthBytes">Its length in bytes.</param>
/// <param name="Kind">How the image has it.</param>
/// <param name="HostOffset">
/// Where it stands in the file, or in the data file, in bytes: of data, and of what else has space kept for it. Of a compressed cluster where its compressed bytes start. Else null.
/// </param>
/// <param name="CompressedBytes">The most bytes that the compressed form may take; 0 of others.</param>
public readonly record struct GuestExtent(long OffsetBytes, long LengthBytes, GuestExtentKind Kind, long? HostOffset, int CompressedBytes = 0)
{
    /// <summary>Where it ends on the disk, in bytes.</summary>
    public long EndBytes => OffsetBytes + LengthBytes;
}
