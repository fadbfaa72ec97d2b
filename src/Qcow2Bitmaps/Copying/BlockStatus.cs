namespace Qcow2Bitmaps.Copying;

/// <summary>How an image has a part of the disk, by QEMU's distinctions, which its strict comparison shows.</summary>
[Flags]
internal enum BlockStatus
{
    None = 0,
    Data = 1,
    Zero = 2,
    /// <summary>It has a place in a file.</summary>
    HasOffset = 4,
    /// <summary>An image has it; not where all images of a chain have nothing.</summary>
    Allocated = 8,
    /// <summary>It reaches to the end of the disk.</summary>
    AtEnd = 16,
}
