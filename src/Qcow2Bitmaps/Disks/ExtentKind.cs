namespace Qcow2Bitmaps;

/// <summary>How the data of a part of a disk are stored.</summary>
public enum ExtentKind
{
    /// <summary>Not in this image: the range reads from the backing image, or as zeros where there is none.</summary>
    Unallocated,
    /// <summary>As zeros.</summary>
    Zero,
    /// <summary>As bytes in the file, or in the data file.</summary>
    Data,
    /// <summary>As one compressed cluster.</summary>
    Compressed,
}
