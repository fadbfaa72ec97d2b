namespace Qcow2Bitmaps;

/// <summary>The stable codes of what is well formed and not supported.</summary>
public enum UnsupportedReason
{
    /// <summary>The image needs an unknown incompatible feature.</summary>
    IncompatibleFeature = 1,
    /// <summary>The format is neither qcow2 nor raw.</summary>
    Format = 2,
    /// <summary>A backing file's or a data file's name has a protocol, such as <c>json:</c> or <c>nbd:</c>.</summary>
    BackingProtocol = 3,
    /// <summary>A backing file or a data file lies outside the folders that the caller allows.</summary>
    BackingOutsideAllowedFolders = 4,
    /// <summary>The chain has more images than the limit.</summary>
    ChainTooDeep = 5,
    /// <summary>The chain contains a loop.</summary>
    ChainLoop = 6,
    /// <summary>The top image is not a file, and there is no resolver for its backing file.</summary>
    NoResolver = 7,
    /// <summary>The first cluster has no room for another header extension.</summary>
    NoRoomInHeader = 8,
    /// <summary>The image is of version 2, which has no persistent bitmaps.</summary>
    BitmapsInVersion2 = 9,
    /// <summary>The image is open for reading only.</summary>
    ReadOnly = 10,
    /// <summary>The guest data are encrypted.</summary>
    Encryption = 11,
    /// <summary>A reference count does not fit the width of the image's counts.</summary>
    RefcountWidth = 12,
    /// <summary>Not possible with an external data file: it has no snapshots, and a raw one is not overwritten.</summary>
    ExternalDataFile = 13,
    /// <summary>The image has persistent bitmaps, which did not record what the snapshot would change.</summary>
    SnapshotWithBitmaps = 14,
    /// <summary>The image is of version 2, and the operation needs version 3.</summary>
    Version2 = 15,
    /// <summary>A limit of the format or of QEMU is reached.</summary>
    Limit = 16,
    /// <summary>Compressed clusters cannot be written to this image.</summary>
    Compression = 17,
    /// <summary>An edit of several images was interrupted, and must be finished first.</summary>
    InterruptedEdit = 18,
    /// <summary>This storage does not support this preallocation.</summary>
    Preallocation = 19,
}
