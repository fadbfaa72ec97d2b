namespace Qcow2Bitmaps;

/// <summary>A part of a disk whose data are stored in one way.</summary>
/// <param name="OffsetBytes">Where it starts on the disk, in bytes.</param>
/// <param name="LengthBytes">Its length in bytes.</param>
/// <param name="Kind">How the data are stored. <see cref="ExtentKind.Unallocated"/>: no image of the disk has data, it reads as
/// zeros.</param>
/// <param name="HostOffset">
/// For data and allocated zeros, the offset in bytes in the file or the data file. For a compressed cluster, where its compressed bytes
/// start. Null otherwise, and where it is not known.
/// </param>
/// <param name="CompressedBytes">The most bytes that the compressed form may take; 0 for other kinds.</param>
/// <param name="Depth">The image that decides: its index in the chain, 0 for the top image. Where no image has data, the last one that was
/// asked.</param>
/// <param name="IsHole">Whether the file has a hole in place of the data, which read as zeros.</param>
public readonly record struct DiskExtent(
    long OffsetBytes, long LengthBytes, ExtentKind Kind, long? HostOffset, int CompressedBytes = 0, int Depth = 0, bool IsHole = false)
{
    /// <summary>Where it ends on the disk, in bytes.</summary>
    public long EndBytes => OffsetBytes + LengthBytes;

    /// <summary>Whether it is known, without reading, to read as zeros.</summary>
    public bool IsZero => IsHole || Kind is ExtentKind.Zero or ExtentKind.Unallocated;

    /// <summary>A part of the extent. The host offset of a compressed cluster stays that of the cluster.</summary>
    /// <param name="offsetBytes">Where the part starts on the disk, in bytes.</param>
    /// <param name="lengthBytes">Its length in bytes.</param>
    internal DiskExtent Slice(long offsetBytes, long lengthBytes) => this with
    {
        OffsetBytes = offsetBytes,
        LengthBytes = lengthBytes,
        HostOffset = Kind == ExtentKind.Compressed ? HostOffset : HostOffset + (offsetBytes - OffsetBytes),
    };
}
