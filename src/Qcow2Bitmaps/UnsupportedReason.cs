namespace Qcow2Bitmaps;

/// <summary>The stable codes of what is well formed and not supported.</summary>
public enum UnsupportedReason
{
    /// <summary>The image needs an incompatible feature that is not known here.</summary>
    IncompatibleFeature = 1,
    /// <summary>The format is none of qcow2 and raw.</summary>
    Format = 2,
    /// <summary>A backing file's or a data file's name has a protocol, such as <c>json:</c> or <c>nbd:</c>.</summary>
    BackingProtocol = 3,
    /// <summary>A backing file or a data file lies outside the folders that the caller allows.</summary>
    BackingOutsideAllowedFolders = 4,
    /// <summary>The chain has more images than the limit.</summary>
    ChainTooDeep = 5,
    /// <summary>The chain leads back to an image that is in it already.</summary>
    ChainLoop = 6,
    /// <summary>The top image is no file, and no resolver says where its backing file is.</summary>
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
    /// <summary>
    /// The guest data stand in an external data file, with which this cannot be done: it has no snapshots,
    /// and what a raw one has is not overwritten.
    /// </summary>
    ExternalDataFile = 13,
    /// <summary>The image has persistent bitmaps, which know nothing of the snapshot's past.</summary>
    SnapshotWithBitmaps = 14,
    /// <summary>The image is of version 2 and what is asked needs version 3.</summary>
    Version2 = 15,
    /// <summary>A limit of the format or of QEMU is reached.</summary>
    Limit = 16,
    /// <summary>Clusters of this image are not written compressed here.</summary>
    Compression = 17,
    /// <summary>An edit of several images was interrupted, and is to be finished before this image is edited.</summary>
    InterruptedEdit = 18,
    /// <summary>Space cannot be set aside so on this storage.</summary>
    Preallocation = 19,
}
