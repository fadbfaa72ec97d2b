namespace Qcow2Bitmaps;

/// <summary>Which parts of a new image, or of the added space of a resized disk, are allocated at once.</summary>
public enum Preallocation
{
    /// <summary>Nothing: clusters are allocated when they are written.</summary>
    Off = 0,
    /// <summary>All tables, and an allocated cluster for every part of the disk; no guest data are written.</summary>
    Metadata = 1,
    /// <summary>
    /// As <see cref="Metadata"/>, and the file system sets the space aside without writing it; where it
    /// cannot, zeros are written. Not on block devices.
    /// </summary>
    Falloc = 2,
    /// <summary>Like <see cref="Metadata"/>, and all of it is filled with zeros. Not on block devices.</summary>
    Full = 3,
}
