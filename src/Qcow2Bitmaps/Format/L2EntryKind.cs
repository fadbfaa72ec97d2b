namespace Qcow2Bitmaps.Format;

/// <summary>How an L2 entry describes its cluster.</summary>
internal enum L2EntryKind
{
    /// <summary>Nothing is stored: the backing image shows through.</summary>
    Unallocated,
    /// <summary>The cluster reads as zeros, without space of its own.</summary>
    ZeroPlain,
    /// <summary>The cluster reads as zeros and has space allocated.</summary>
    ZeroAllocated,
    /// <summary>The cluster's data are in the file.</summary>
    Normal,
    /// <summary>The cluster's data are compressed.</summary>
    Compressed,
}
