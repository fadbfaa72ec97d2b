namespace Qcow2Bitmaps.Operations;

/// <summary>What an operation on a chain does to a bitmap in an image.</summary>
public enum BitmapChangeKind
{
    /// <summary>It was created, empty.</summary>
    Added,
    /// <summary>It was created from bits of other images, or received them.</summary>
    Merged,
    /// <summary>The ranges that the operation writes were marked in it.</summary>
    Marked,
    /// <summary>It was rebuilt from what is allocated in the image.</summary>
    Populated,
    /// <summary>It was disabled.</summary>
    Disabled,
    /// <summary>It was removed.</summary>
    Removed,
    /// <summary>It was not copied.</summary>
    LeftBehind,
    /// <summary>All its bits were cleared.</summary>
    Cleared,
}
