namespace Qcow2Bitmaps.Bitmaps;

/// <summary>What is known of a page of bits without reading it.</summary>
internal enum BitmapPageKind
{
    /// <summary>All bits are zero.</summary>
    AllClean,
    /// <summary>All bits up to the disk's end are one.</summary>
    AllDirty,
    /// <summary>The bits have to be read.</summary>
    Bits,
}
