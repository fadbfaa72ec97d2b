namespace Qcow2Bitmaps;

/// <summary>Why a bitmap is not valid over a chain.</summary>
public enum InvalidReason
{
    /// <summary>The top image does not hold it, so that writes to that image are not recorded.</summary>
    MissingInTop,
    /// <summary>An image between two that hold it does not.</summary>
    Gap,
    /// <summary>It was not saved when an image was closed: flag <c>in-use</c>.</summary>
    Inconsistent,
    /// <summary>It is disabled in an image: flag <c>auto</c> is missing.</summary>
    NotRecording,
    /// <summary>
    /// An image that another process has open for writing has the flag <c>in-use</c>, or does not hold the bitmap yet. Nothing is broken,
    /// but that process keeps its bitmaps in memory, so the state on disk proves nothing. Only possible with shared locks (<c>-U</c>):
    /// without them, such an image cannot be opened.
    /// </summary>
    OpenElsewhere,
    /// <summary>
    /// Its directory entry or its table is broken in an image, or, for a lenient reader, an image's directory could not be read to its end.
    /// QEMU cannot open such an image at all.
    /// </summary>
    Unreadable,
}
