namespace Qcow2Bitmaps;

/// <summary>The stable codes of what is well formed and not supported.</summary>
public enum UnsupportedReason
{
    /// <summary>The image needs an incompatible feature that is not known here.</summary>
    IncompatibleFeature = 1,
    /// <summary>The format is none of qcow2 and raw.</summary>
    Format = 2,
    /// <summary>A backing file's name has a protocol, such as <c>json:</c> or <c>nbd:</c>.</summary>
    BackingProtocol = 3,
    /// <summary>A backing file lies outside the folders that the caller allows.</summary>
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
    /// <summary>Clusters of this image are not written compressed here.</summary>
    Compression = 12,
}
