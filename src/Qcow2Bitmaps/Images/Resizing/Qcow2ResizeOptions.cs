using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>How a disk is given another size. Immutable.</summary>
public sealed record Qcow2ResizeOptions
{
    /// <summary>The defaults.</summary>
    internal static Qcow2ResizeOptions Default { get; } = new();

    /// <summary>Whether the disk may become smaller, which deletes all behind the new end.</summary>
    public bool AllowShrink { get; init; }

    /// <summary>
    /// What the backing image's disk holds, so that nothing of it shows where the disk grows; null when that is not known:
    /// then the backing image counts as endless.
    /// </summary>
    internal Disk? Backing { get; init; }

    /// <summary>
    /// The external data file, open for writing, of an image that has one; it gets the disk's new size, but for one that is longer than the
    /// disk, which is never cut: what a raw one has behind the disk's old end becomes the disk's. The caller disposes it.
    /// </summary>
    internal ImageStorage? DataFile { get; init; }

    /// <summary>What of what the disk gains is allocated at once. Only where it grows.</summary>
    public Preallocation Preallocation { get; init; }
}
