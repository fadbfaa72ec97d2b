namespace Qcow2Bitmaps.Format;

/// <summary>The stable codes of everything that can be wrong with the bytes of an image. A code keeps its number and its meaning.</summary>
internal enum FaultCode
{
    /// <summary>Nothing is wrong.</summary>
    None = 0,

    /// <summary>The file does not start with the magic bytes <c>51 46 49 FB</c>.</summary>
    HeaderMagic = 100,
    /// <summary>The version is neither 2 nor 3.</summary>
    HeaderVersion = 101,
    /// <summary>The file, or the first cluster, ends inside the header.</summary>
    HeaderTruncated = 102,
    /// <summary><c>cluster_bits</c> is outside 9..21, or below 14 with extended L2 entries.</summary>
    HeaderClusterBits = 103,
    /// <summary><c>header_length</c> is below 104 or above the cluster size.</summary>
    HeaderLength = 104,
    /// <summary>An unknown incompatible feature bit is set.</summary>
    HeaderUnknownFeature = 105,
    /// <summary>The corrupt bit is set: only a repair may write the image.</summary>
    HeaderCorruptBit = 106,
    /// <summary><c>refcount_order</c> is above 6.</summary>
    HeaderRefcountOrder = 107,
    /// <summary>The compression type is unknown, or does not agree with the incompatible bit.</summary>
    HeaderCompressionType = 108,
    /// <summary>The encryption method is unknown.</summary>
    HeaderCryptMethod = 109,
    /// <summary>The virtual size is too large for the format or for the L1 table's limit.</summary>
    HeaderVirtualSize = 110,
    /// <summary>The L1 table is too large, too small for the disk, unaligned, or out of the range of offsets.</summary>
    HeaderL1Table = 111,
    /// <summary>The refcount table is missing, too large, unaligned, or out of the range of offsets.</summary>
    HeaderRefcountTable = 112,
    /// <summary>The snapshot table is too long, unaligned, or out of the range of offsets.</summary>
    HeaderSnapshotTable = 113,
    /// <summary>The backing file's name lies outside the first cluster.</summary>
    HeaderBackingFileOffset = 114,
    /// <summary>The backing file's name is longer than 1023 bytes or runs out of the first cluster.</summary>
    HeaderBackingFileSize = 115,
    /// <summary>The dirty bit is set: the refcounts must be repaired before the image is written.</summary>
    HeaderDirtyBit = 116,

    /// <summary>A header extension, or its header, runs past the end of the extension area.</summary>
    ExtensionTooLarge = 200,
    /// <summary>The backing format's name is longer than 15 bytes.</summary>
    ExtensionBackingFormat = 201,
    /// <summary>The feature-name table's length is not a multiple of 48 bytes.</summary>
    ExtensionFeatureNames = 202,
    /// <summary>The encryption header pointer has a wrong length, is unaligned, missing, or not allowed without LUKS.</summary>
    ExtensionCryptoHeader = 203,
    /// <summary>The external data file bit is set, but no name is stored.</summary>
    ExtensionDataFile = 204,
    /// <summary>An extension that may occur once occurs twice; the last one counts.</summary>
    ExtensionDuplicate = 205,

    /// <summary>The bitmaps extension's length is not 24 bytes.</summary>
    BitmapsExtensionLength = 300,
    /// <summary>The bitmaps extension's reserved field is not zero.</summary>
    BitmapsExtensionReserved = 301,
    /// <summary>The bitmaps extension counts no bitmaps, or more than the limit.</summary>
    BitmapsExtensionCount = 302,
    /// <summary>The bitmap directory's offset is zero, unaligned, or out of the range of offsets.</summary>
    BitmapsExtensionDirectoryOffset = 303,
    /// <summary>The bitmap directory's size is zero or above the limit.</summary>
    BitmapsExtensionDirectorySize = 304,
    /// <summary>The bitmaps extension lacks autoclear bit 0: a program without bitmap support wrote to the image.</summary>
    BitmapsExtensionAutoclearOff = 305,
    /// <summary>Autoclear bit 0 is on but there is no bitmaps extension.</summary>
    BitmapsExtensionMissing = 306,

    /// <summary>The bitmap directory runs past the end of the file.</summary>
    BitmapDirectoryTruncated = 400,
    /// <summary>A directory entry runs past the directory's end, or bytes are left over.</summary>
    BitmapDirectoryBroken = 401,
    /// <summary>The directory holds more or fewer bitmaps than the extension says.</summary>
    BitmapDirectoryCount = 402,
    /// <summary>An entry has extra data, whose meaning is not known.</summary>
    BitmapExtraData = 403,
    /// <summary>An entry's table offset is zero, unaligned, or out of the range of offsets.</summary>
    BitmapTableOffset = 404,
    /// <summary>An entry's table has no entries, too many, or a number that does not fit the disk.</summary>
    BitmapTableSize = 405,
    /// <summary>A reserved flag is set.</summary>
    BitmapFlags = 406,
    /// <summary>The type is not 1 (dirty tracking).</summary>
    BitmapType = 407,
    /// <summary>The granularity is outside 512 B to 2 GiB.</summary>
    BitmapGranularity = 408,
    /// <summary>The name is empty, longer than 1023 bytes, not UTF-8, or holds a NUL.</summary>
    BitmapName = 409,
    /// <summary>Two bitmaps have the same name.</summary>
    BitmapDuplicateName = 410,
    /// <summary>The padding after an entry is not zero.</summary>
    BitmapPadding = 411,
    /// <summary>The in-use flag is set: the bitmap was not saved, and the stored bits are old.</summary>
    BitmapInUse = 412,

    /// <summary>Reserved bits of a bitmap table entry are set.</summary>
    BitmapTableEntryReserved = 500,
    /// <summary>A bitmap table entry's offset is not aligned to a cluster.</summary>
    BitmapTableEntryUnaligned = 501,
    /// <summary>A bitmap table runs past the end of the file.</summary>
    BitmapTableTruncated = 502,
    /// <summary>Bits of a bitmap lie past the end of the file.</summary>
    BitmapDataTruncated = 503,
    /// <summary>Bits past the disk's end are set.</summary>
    BitmapTailBits = 504,
    /// <summary>A bitmap table names more clusters than the file has: entries share a cluster.</summary>
    BitmapTableAliased = 505,

    /// <summary>Reserved bits of an L1 entry are set.</summary>
    L1EntryReserved = 600,
    /// <summary>An L1 entry's offset is not aligned to a cluster.</summary>
    L1EntryUnaligned = 601,
    /// <summary>Reserved bits of an L2 entry are set.</summary>
    L2EntryReserved = 602,
    /// <summary>An L2 entry's offset is not aligned to a cluster.</summary>
    L2EntryUnaligned = 603,
    /// <summary>A subcluster is both allocated and zero, or a compressed cluster has subclusters.</summary>
    L2SubclusterBitmap = 604,
    /// <summary>A compressed cluster is marked as having a reference count of one.</summary>
    L2CompressedCopied = 605,
    /// <summary>In an image with a data file, an L2 entry's offset differs from its cluster's offset on the disk.</summary>
    L2DataFileOffset = 606,
    /// <summary>A compressed cluster is truncated, corrupt, or does not unpack to one cluster.</summary>
    CompressedData = 607,
    /// <summary>An L2 entry names a cluster that holds a structure of the image: writing there would destroy it.</summary>
    L2Overlap = 608,
    /// <summary>The L1 table is too short for the disk, or runs past the end of the file.</summary>
    L1TableTruncated = 614,
    /// <summary>L1 entries name more L2 tables than the file has clusters: entries share tables.</summary>
    L1TableAliased = 609,
    /// <summary>Reserved bits of a refcount table entry are set.</summary>
    RefcountTableEntryReserved = 610,
    /// <summary>A refcount table entry's offset is not aligned to a cluster.</summary>
    RefcountTableEntryUnaligned = 611,
    /// <summary>A refcount block lies past the end of the file.</summary>
    RefcountBlockTruncated = 612,
    /// <summary>A cluster in use has a reference count of zero, and could be allocated again.</summary>
    RefcountTooLow = 613,
    /// <summary>The file, or an external data file, ends before clusters that the image refers to: it is incomplete.</summary>
    FileTruncated = 615,

    /// <summary>The snapshot table is larger than the limit.</summary>
    SnapshotTableSize = 700,
    /// <summary>A snapshot's extra data are larger than the limit, or shorter than version 3 demands.</summary>
    SnapshotExtraData = 701,
    /// <summary>A snapshot's L1 table is too large, unaligned, or out of the range of offsets.</summary>
    SnapshotL1Table = 702,
    /// <summary>The snapshot table runs past the end of the file.</summary>
    SnapshotTableTruncated = 703,

    /// <summary>The LUKS header is truncated, or is not one.</summary>
    LuksHeader = 800,
}
