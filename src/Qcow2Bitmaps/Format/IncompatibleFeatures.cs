namespace Qcow2Bitmaps.Format;

/// <summary>Feature bits that a reader must know (header offset 72). Spec: "Header", incompatible_features.</summary>
[Flags]
internal enum IncompatibleFeatures : ulong
{
    /// <summary>No bit is set.</summary>
    None = 0,
    /// <summary>Refcounts may be stale; they are repaired before the next write.</summary>
    Dirty = 1 << 0,
    /// <summary>A structure was found corrupt; only a repair may write the image.</summary>
    Corrupt = 1 << 1,
    /// <summary>Guest data are in an external file.</summary>
    ExternalDataFile = 1 << 2,
    /// <summary>The compression type is not zlib.</summary>
    CompressionType = 1 << 3,
    /// <summary>L2 entries are 16 bytes long and describe 32 subclusters.</summary>
    ExtendedL2 = 1 << 4,
}
