namespace Qcow2Bitmaps.Operations;

/// <summary>What an operation on a chain does to a bitmap in an image.</summary>
public enum BitmapChangeKind
{
    /// <summary>It was made, with nothing dirty.</summary>
    Added,
    /// <summary>It was made from bits of other images, or took them over.</summary>
    Merged,
    /// <summary>What the operation writes was marked in it.</summary>
    Marked,
    /// <summary>It was rebuilt from what is allocated in the image.</summary>
    Populated,
    /// <summary>It records no longer.</summary>
    Disabled,
    /// <summary>It was removed.</summary>
    Removed,
    /// <summary>It was not carried along.</summary>
    LeftBehind,
    /// <summary>All of it was made clean.</summary>
    Cleared,
}
