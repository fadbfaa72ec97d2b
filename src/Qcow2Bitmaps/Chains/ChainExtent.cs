using Qcow2Bitmaps.Images;

namespace Qcow2Bitmaps.Chains;

/// <summary>A part of the disk as the guest sees it through a chain.</summary>
/// <param name="OffsetBytes">Where it starts on the disk, in bytes.</param>
/// <param name="LengthBytes">Its length in bytes.</param>
/// <param name="Kind">How it is had. <see cref="GuestExtentKind.Unallocated"/>: no image has anything, it reads as zeros.</param>
/// <param name="Depth">Which image decides: its index in the chain. Where no image has anything, the last one that was asked.</param>
/// <param name="HostOffset">Where it stands in that image's file, or data file, in bytes; null where it stands nowhere. Of a compressed cluster where its compressed bytes start.</param>
/// <param name="CompressedBytes">The most bytes that the compressed form may take; 0 of others.</param>
/// <param name="IsHole">Whether the file has a hole where the data should be: they read as zeros.</param>
public readonly record struct ChainExtent(
    long OffsetBytes, long LengthBytes, GuestExtentKind Kind, int Depth, long? HostOffset, int CompressedBytes = 0, bool IsHole = false)
{
    /// <summary>Where it ends on the disk, in bytes.</summary>
    public long EndBytes => OffsetBytes + LengthBytes;

    /// <summary>Whether it is known, without reading, to read as zeros.</summary>
    public bool IsZero => IsHole || Kind is GuestExtentKind.Zero or GuestExtentKind.Unallocated;

    /// <summary>A part of the extent. A compressed cluster's place stays that of the cluster.</summary>
    internal ChainExtent Slice(long offsetBytes, long lengthBytes) => this with
    {
        OffsetBytes = offsetBytes,
        LengthBytes = lengthBytes,
        HostOffset = Kind == GuestExtentKind.Compressed ? HostOffset : HostOffset + (offsetBytes - OffsetBytes),
    };
}
