namespace Qcow2Bitmaps;

/// <summary>What of a new image, or of what a disk gains, is allocated from the start.</summary>
public enum Preallocation
{
    /// <summary>Nothing: clusters are allocated when they are written.</summary>
    Off = 0,
    /// <summary>All tables, and a place for every cluster; no guest data are written.</summary>
    Metadata = 1,
    /// <summary>
    /// As <see cref="Metadata"/>, and the file system sets the space aside without writing it; where it
    /// cannot, zeros are written. Not on block devices.
    /// </summary>
    Falloc = 2,
    /// <summary>As <see cref="Metadata"/>, and zeros are written to all of it. Not on block devices.</summary>
    Full = 3,
}
