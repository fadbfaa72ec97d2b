namespace Qcow2Bitmaps.Format;

/// <summary>The largest counts and sizes that are accepted from an image. The defaults are QEMU's.</summary>
/// <remarks>
/// Every count is checked against these before it sizes anything, so that a hostile image costs no more memory than they
/// allow. Immutable and safe to share between threads.
/// </remarks>
internal sealed record Qcow2Limits
{
    /// <summary>QEMU's limits.</summary>
    internal static Qcow2Limits Default { get; } = new();

    /// <summary>The longest L1 table, in bytes. QEMU: 32 MiB.</summary>
    public long MaxL1TableBytes { get; init; } = 32L << 20;

    /// <summary>The longest refcount table, in bytes. QEMU: 8 MiB.</summary>
    public long MaxRefcountTableBytes { get; init; } = 8L << 20;

    /// <summary>The most internal snapshots. QEMU: 65536.</summary>
    public int MaxSnapshots { get; init; } = 65536;

    /// <summary>The longest snapshot table, in bytes. QEMU: 64 MiB.</summary>
    public long MaxSnapshotTableBytes { get; init; } = 64L << 20;

    /// <summary>The most extra data of one snapshot, in bytes. QEMU: 1024.</summary>
    public int MaxSnapshotExtraDataBytes { get; init; } = 1024;

    /// <summary>The longest name of a backing file, in bytes. QEMU: 1023.</summary>
    public int MaxBackingFileNameBytes { get; init; } = 1023;

    /// <summary>The longest name of a backing format, in bytes. QEMU: 15.</summary>
    public int MaxBackingFormatNameBytes { get; init; } = 15;

    /// <summary>The most bitmaps in one image. QEMU: 65535.</summary>
    public int MaxBitmaps { get; init; } = 65535;

    /// <summary>The longest bitmap directory, in bytes. QEMU: 1024 × 65535.</summary>
    public long MaxBitmapDirectoryBytes { get; init; } = 1024L * 65535;

    /// <summary>The most entries of one bitmap table. QEMU: 0x8000000.</summary>
    public long MaxBitmapTableEntries { get; init; } = 0x8000000;

    /// <summary>The most bytes that the bits of one bitmap may take. QEMU: 512 MiB.</summary>
    public long MaxBitmapBytes { get; init; } = 512L << 20;

    /// <summary>The longest name of a bitmap, in bytes of UTF-8. QEMU: 1023.</summary>
    public int MaxBitmapNameBytes { get; init; } = 1023;

    /// <summary>
    /// The most images in one backing chain. 256: QEMU has no limit of its own, but each image takes a file
    /// handle, of which a process has 1024 by default.
    /// </summary>
    public int MaxChainDepth { get; init; } = 256;
}
