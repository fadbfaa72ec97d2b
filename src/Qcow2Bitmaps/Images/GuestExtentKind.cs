namespace Qcow2Bitmaps.Images;

/// <summary>What an image itself has for a part of the disk.</summary>
public enum GuestExtentKind
{
    /// <summary>Nothing: the backing image shows through, or zeros where there is none.</summary>
    Unallocated,
    /// <summary>It reads as zeros.</summary>
    Zero,
    /// <summary>Its bytes stand in the file, or in the data file.</summary>
    Data,
    /// <summary>One cluster, compressed.</summary>
    Compressed,
}
