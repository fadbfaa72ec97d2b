namespace Qcow2Bitmaps.Compression;

/// <summary>Why compressed data do not make a cluster.</summary>
internal enum CompressionFault
{
    /// <summary>Nothing is wrong.</summary>
    None = 0,

    /// <summary>The data end before the cluster is full, or inside the frame that fills it.</summary>
    Truncated = 1,
    /// <summary>The data decode to more than a cluster.</summary>
    TooLong = 2,

    /// <summary>Raw deflate: an invalid block type, code or distance, or data that end before the cluster is full.</summary>
    Deflate = 10,

    /// <summary>zstd: neither a frame nor a skippable frame starts here. RFC 8878, 3.1.1.</summary>
    ZstdMagic = 20,
    /// <summary>zstd: the reserved bit of the frame's descriptor is set. RFC 8878, 3.1.1.1.1.4.</summary>
    ZstdReservedBit = 21,
    /// <summary>zstd: the frame needs a dictionary; qcow2 has none.</summary>
    ZstdDictionary = 22,
    /// <summary>zstd: the window is above 128 MiB, or 4 GiB or more if the content's size is stated. QEMU's limits.</summary>
    ZstdWindow = 23,
    /// <summary>zstd: the content's checksum differs.</summary>
    ZstdChecksum = 24,
    /// <summary>zstd: a block of the reserved type.</summary>
    ZstdBlockType = 25,
    /// <summary>zstd: a block larger than the window or than 128 KiB.</summary>
    ZstdBlockSize = 26,
    /// <summary>zstd: the blocks do not decode, or decode to more or fewer bytes than the frame's header says.</summary>
    ZstdContent = 27,
}
