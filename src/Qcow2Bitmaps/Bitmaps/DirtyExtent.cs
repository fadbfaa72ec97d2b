namespace Qcow2Bitmaps;

/// <summary>A range of the disk in which every granule is dirty, or every one clean.</summary>
public readonly record struct DirtyExtent
{
    internal DirtyExtent(long offsetBytes, long lengthBytes, bool isDirty)
    {
        OffsetBytes = offsetBytes;
        LengthBytes = lengthBytes;
        IsDirty = isDirty;
    }

    /// <summary>Where it starts on the disk, in bytes.</summary>
    public long OffsetBytes { get; internal init; }

    /// <summary>Its length in bytes; never reaches past the disk's end.</summary>
    public long LengthBytes { get; internal init; }

    /// <summary>Whether it is dirty.</summary>
    public bool IsDirty { get; }

    /// <summary>Where it ends on the disk, in bytes: the first byte after it.</summary>
    public long EndBytes => OffsetBytes + LengthBytes;
}
