namespace Qcow2Bitmaps;

/// <summary>What is well formed and not supported. The names are <see cref="Qcow2UnsupportedException.Id"/>, so they stay.</summary>
internal enum UnsupportedReason
{
    /// <summary>The image needs an unknown incompatible feature.</summary>
    IncompatibleFeature,
    /// <summary>The format is neither qcow2 nor raw.</summary>
    Format,
    /// <summary>A backing file's or a data file's name has a protocol, such as <c>json:</c> or <c>nbd:</c>.</summary>
    BackingProtocol,
    /// <summary>A backing file or a data file lies outside the folders that the caller allows.</summary>
    BackingOutsideAllowedFolders,
    /// <summary>The chain has more images than the limit.</summary>
    ChainTooDeep,
    /// <summary>The chain contains a loop.</summary>
    ChainLoop,
    /// <summary>The image has no backing file to commit into.</summary>
    NoBackingFile,
    /// <summary>The top image is not a file, and there is no resolver for its backing file.</summary>
    NoResolver,
    /// <summary>The first cluster has no room for another header extension.</summary>
    NoRoomInHeader,
    /// <summary>The image is of version 2, which has no persistent bitmaps.</summary>
    BitmapsInVersion2,
    /// <summary>The image is open for reading only.</summary>
    ReadOnly,
    /// <summary>The guest data are encrypted.</summary>
    Encryption,
    /// <summary>A reference count does not fit the width of the image's counts.</summary>
    RefcountWidth,
    /// <summary>Not possible with an external data file: it has no snapshots, and a raw one is not overwritten.</summary>
    ExternalDataFile,
    /// <summary>The image has persistent bitmaps, which did not record what the snapshot would change.</summary>
    SnapshotWithBitmaps,
    /// <summary>The image is of version 2, and the operation needs version 3.</summary>
    Version2,
    /// <summary>A limit of the format or of QEMU is reached.</summary>
    Limit,
    /// <summary>Compressed clusters cannot be written to this image.</summary>
    Compression,
    /// <summary>An edit of several images was interrupted, and must be finished first.</summary>
    InterruptedEdit,
    /// <summary>This storage does not support this preallocation.</summary>
    Preallocation,
}
