using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Resizing;

/// <summary>Options for resizing a disk. Immutable.</summary>
internal sealed record Qcow2ResizeOptions
{
    /// <summary>Whether the disk may become smaller, which deletes everything past the new end.</summary>
    public bool AllowShrink { get; init; }

    /// <summary>
    /// The backing image's disk, needed so that none of its data become visible where the disk grows; null if unknown: then the backing
    /// image counts as endless.
    /// </summary>
    public Disk? Backing { get; init; }

    /// <summary>
    /// The external data file of an image that has one, open for writing. It gets the disk's new size, unless it is longer than the disk:
    /// such a file is never truncated, and what a raw one has past the disk's old end becomes part of the disk. The caller disposes it.
    /// </summary>
    public ImageStorage? DataFile { get; init; }

    /// <summary>How the added space is preallocated. Only when the disk grows.</summary>
    public Preallocation Preallocation { get; init; }
}
