namespace Qcow2Bitmaps;

/// <summary>A range of the disk in which every granule is dirty, or every one clean.</summary>
/// <param name="OffsetBytes">Where it starts on the disk, in bytes.</param>
/// <param name="LengthBytes">Its length in bytes; never reaches past the disk's end.</param>
/// <param name="IsDirty">Whether it is dirty.</param>
public readonly record struct DirtyExtent(long OffsetBytes, long LengthBytes, bool IsDirty)
{
    /// <summary>Where it ends on the disk, in bytes: the first byte behind it.</summary>
    public long EndBytes => OffsetBytes + LengthBytes;
}
