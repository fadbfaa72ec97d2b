using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>The header at the start of an image, version 2 or 3, with every field that it has. Spec: "Header".</summary>
/// <remarks>
/// Holds the values as they are stored; opening an image checks them. Immutable and safe to share between threads. Version 2 has no feature
/// words: they read as zero, and the refcount order as 4.
/// </remarks>
public sealed partial record Qcow2Header
{
    /// <summary>The first four bytes of every image: <c>QFI\xfb</c>.</summary>
    internal const uint MagicNumber = 0x514649FB;

    /// <summary>The largest refcount order: counts of 64 bits.</summary>
    internal const int MaxRefcountOrder = 6;

    /// <summary>The number of bytes that <see cref="TryRead"/> needs for everything but the unknown fields.</summary>
    internal const int MaxKnownBytes = HeaderLayout.KnownLength;

    private const IncompatibleFeatures KnownFeatures = IncompatibleFeatures.Dirty | IncompatibleFeatures.Corrupt
        | IncompatibleFeatures.ExternalDataFile | IncompatibleFeatures.CompressionType | IncompatibleFeatures.ExtendedL2;

    internal Qcow2Header()
    {
    }

    /// <summary>The version: 2 (compat 0.10) or 3 (compat 1.1).</summary>
    public int Version { get; init; } = 3;

    /// <summary>Where the backing file's name starts, in bytes from the start of the file; 0 without a backing file.</summary>
    internal ulong BackingFileOffset { get; init; }

    /// <summary>The length of the backing file's name in bytes.</summary>
    internal uint BackingFileSize { get; init; }

    /// <summary>The cluster size as a power of two.</summary>
    internal uint ClusterBits { get; init; } = 16;

    /// <summary>The disk's size in bytes, as stated.</summary>
    internal ulong VirtualSize { get; init; }

    /// <summary>How guest data are encrypted, as a number: see <see cref="Qcow2Bitmaps.EncryptionMethod"/>.</summary>
    internal uint CryptMethod { get; init; }

    /// <summary>Entries of the active L1 table.</summary>
    internal uint L1Size { get; init; }

    /// <summary>Where the active L1 table starts, in bytes.</summary>
    internal ulong L1TableOffset { get; init; }

    /// <summary>Where the refcount table starts, in bytes.</summary>
    internal ulong RefcountTableOffset { get; init; }

    /// <summary>Clusters of the refcount table.</summary>
    internal uint RefcountTableClusters { get; init; }

    /// <summary>The number of internal snapshots.</summary>
    internal uint SnapshotCount { get; init; }

    /// <summary>Where the snapshot table starts, in bytes.</summary>
    internal ulong SnapshotsOffset { get; init; }

    /// <summary>Bits that a reader must know.</summary>
    internal IncompatibleFeatures IncompatibleFeatures { get; init; }

    /// <summary>The bits that a reader must know, and this one does not.</summary>
    internal IncompatibleFeatures UnknownFeatures => IncompatibleFeatures & ~KnownFeatures;

    /// <summary>Bits that a reader may ignore.</summary>
    internal CompatibleFeatures CompatibleFeatures { get; init; }

    /// <summary>Bits that a writer clears when it does not know them.</summary>
    internal AutoclearFeatures AutoclearFeatures { get; init; }

    /// <summary>The width of a reference count as a power of two in bits.</summary>
    internal uint RefcountOrder { get; init; } = 4;

    /// <summary>The width of a reference count in bits: 1, 2, 4, 8, 16, 32 or 64.</summary>
    public int RefcountBits => 1 << (int)Math.Min(RefcountOrder, MaxRefcountOrder);

    /// <summary>The header's length in bytes; extensions follow it. 72 in version 2.</summary>
    internal uint HeaderLength { get; init; } = HeaderLayout.KnownLength;

    /// <summary>How compressed clusters are packed; zlib if the header is too short to say.</summary>
    public CompressionType CompressionType { get; init; }

    /// <summary>The bytes from offset 105 to the header's length: padding and unknown fields. Written back unchanged.</summary>
    internal ReadOnlyMemory<byte> TrailingBytes { get; init; }

    /// <summary>The cluster size in bytes.</summary>
    internal int ClusterSizeBytes => 1 << (int)ClusterBits;

    /// <summary>The active L1 table's length in bytes.</summary>
    internal long L1TableBytes => L1Size * (long)ImageGeometry.TableEntryBytes;

    /// <summary>The refcount table's length in bytes.</summary>
    internal long RefcountTableBytes => (long)RefcountTableClusters << (int)ClusterBits;

    /// <summary>Whether reference counts may be stale; they are repaired before the next write.</summary>
    public bool IsDirty => IncompatibleFeatures.HasFlag(IncompatibleFeatures.Dirty);

    /// <summary>Whether a structure was found corrupt; only a repair may write the image.</summary>
    public bool IsCorrupt => IncompatibleFeatures.HasFlag(IncompatibleFeatures.Corrupt);

    /// <summary>Whether reference counts are written late, with <see cref="IsDirty"/> set meanwhile.</summary>
    public bool HasLazyRefcounts => CompatibleFeatures.HasFlag(CompatibleFeatures.LazyRefcounts);

    /// <summary>Whether guest data are in an external file.</summary>
    public bool HasExternalDataFile => IncompatibleFeatures.HasFlag(IncompatibleFeatures.ExternalDataFile);

    /// <summary>Whether the external file by itself, as a raw image, reads like the disk.</summary>
    public bool HasRawDataFile => HasExternalDataFile && AutoclearFeatures.HasFlag(AutoclearFeatures.RawExternalData);

    /// <summary>Whether L2 entries are extended.</summary>
    public bool HasExtendedL2 => IncompatibleFeatures.HasFlag(IncompatibleFeatures.ExtendedL2);

    /// <summary>Where the header extensions end, in bytes: at the backing file's name, else at the end of the first cluster.</summary>
    internal ulong ExtensionAreaEnd => BackingFileOffset != 0 ? BackingFileOffset : 1UL << (int)ClusterBits;

    /// <summary>The image's cluster arithmetic. QEMU counts the disk in whole sectors of 512 bytes, rounding down.</summary>
    /// <remarks>
    /// Valid for every header that could be read and whose size is below 2^63, so that bitmaps can be read even if the check of the header
    /// refuses other fields: an invalid refcount width is clamped, an invalid use of extended entries is ignored.
    /// </remarks>
    /// <exception cref="ArgumentOutOfRangeException">The virtual size is 2^63 or more.</exception>
    internal ImageGeometry Geometry => new(
        (int)ClusterBits,
        VirtualSize <= long.MaxValue ? (long)(VirtualSize & ~511UL) : -1,
        (int)Math.Min(RefcountOrder, MaxRefcountOrder),
        HasExtendedL2 && ClusterBits >= ImageGeometry.MinExtendedL2ClusterBits);
}
