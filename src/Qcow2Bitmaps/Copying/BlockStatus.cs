namespace Qcow2Bitmaps.Copying;

/// <summary>How an image stores a part of the disk, in the categories that QEMU's strict comparison distinguishes.</summary>
[Flags]
internal enum BlockStatus
{
    None = 0,
    Data = 1,
    Zero = 2,
    /// <summary>It has an offset in a file.</summary>
    HasOffset = 4,
    /// <summary>It is allocated in an image; not set if it is unallocated in all images of a chain.</summary>
    Allocated = 8,
    /// <summary>It reaches to the end of the disk.</summary>
    AtEnd = 16,
}
