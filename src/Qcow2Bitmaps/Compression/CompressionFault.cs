namespace Qcow2Bitmaps.Compression;

/// <summary>Why compressed data do not make a cluster.</summary>
internal enum CompressionFault
{
    /// <summary>Nothing is wrong.</summary>
    None = 0,

    /// <summary>The data end before the cluster is full, or inside the frame that fills it.</summary>
    Truncated = 1,
    /// <summary>The data make more than the cluster holds.</summary>
    TooLong = 2,

    /// <summary>Raw deflate: a block type, a code or a distance that cannot be, or data that end before the cluster is full.</summary>
    Deflate = 10,

    /// <summary>zstd: neither a frame nor a skippable frame starts here. RFC 8878, 3.1.1.</summary>
    ZstdMagic = 20,
    /// <summary>zstd: the reserved bit of the frame's descriptor is set. RFC 8878, 3.1.1.1.1.4.</summary>
    ZstdReservedBit = 21,
    /// <summary>zstd: the frame needs a dictionary; qcow2 has none.</summary>
    ZstdDictionary = 22,
    /// <summary>zstd: the window is above 128 MiB, or 4 GiB or more if the content's size is stated. QEMU's limits.</summary>
    ZstdWindow = 23,
    /// <summary>zstd: the frame holds more or fewer bytes than its header says.</summary>
    ZstdContentSize = 24,
    /// <summary>zstd: the content's checksum differs.</summary>
    ZstdChecksum = 25,
    /// <summary>zstd: a block of the reserved type.</summary>
    ZstdBlockType = 26,
    /// <summary>zstd: a block larger than the window or than 128 KiB, compressed or decompressed.</summary>
    ZstdBlockSize = 27,
    /// <summary>zstd: the literals section does not fit its block, or its streams do not fit the section.</summary>
    ZstdLiterals = 28,
    /// <summary>zstd: the description of a Huffman tree is not one of a complete tree of at most 11 bits.</summary>
    ZstdHuffmanTree = 29,
    /// <summary>zstd: literals use the Huffman tree of an earlier block, and there is none.</summary>
    ZstdNoHuffmanTree = 30,
    /// <summary>zstd: a Huffman stream does not end with its last literal.</summary>
    ZstdHuffmanStream = 31,
    /// <summary>zstd: the sequences section does not fit its block, or its reserved bits are set.</summary>
    ZstdSequences = 32,
    /// <summary>zstd: the description of an FSE table is not one: accuracy, symbols or the sum of probabilities.</summary>
    ZstdFseTable = 33,
    /// <summary>zstd: sequences use the table of an earlier block, and there is none.</summary>
    ZstdNoFseTable = 34,
    /// <summary>zstd: the bits of the sequences do not end with the last sequence.</summary>
    ZstdSequenceStream = 35,
    /// <summary>zstd: a sequence copies from before the start of its frame.</summary>
    ZstdOffset = 36,
    /// <summary>zstd: sequences take more literals than there are.</summary>
    ZstdLiteralsLength = 37,
}
