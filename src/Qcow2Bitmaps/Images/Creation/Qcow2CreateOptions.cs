using Qcow2Bitmaps.Images.Creation;

namespace Qcow2Bitmaps;

/// <summary>What a new image is like. The defaults are qemu-img's. Immutable and safe to share between threads.</summary>
public sealed record Qcow2CreateOptions
{
    /// <summary>The disk's size in bytes, rounded up to whole sectors of 512.</summary>
    public required long SizeBytes { get; init; }

    /// <summary>The header's version: 3 (compat 1.1), or 2 (compat 0.10), which holds no bitmaps.</summary>
    public int Version { get; init; } = 3;

    /// <summary>The size of a cluster in bytes: a power of two from 512 to 2 MiB, with extended L2 entries from 16 KiB.</summary>
    public long ClusterSizeBytes { get; init; } = 64 << 10;

    /// <summary>The width of a reference count in bits: 1, 2, 4, 8, 16, 32 or 64; in version 2 only 16.</summary>
    public long RefcountBits { get; init; } = 16;

    /// <summary>Whether L2 entries are extended, so that clusters have 32 subclusters. Version 3 only.</summary>
    public bool ExtendedL2 { get; init; }

    /// <summary>How clusters are packed that will be compressed. Version 2 has only <see cref="CompressionType.Zlib"/>.</summary>
    public CompressionType CompressionType { get; init; }

    /// <summary>Whether writers may keep reference counts back until they close the image. Version 3 only.</summary>
    public bool LazyRefcounts { get; init; }

    /// <summary>
    /// The name of the backing file, stored as it is, at most 1023 bytes; null without one. Nothing is
    /// opened: the size is the caller's to know.
    /// </summary>
    public string? BackingFile { get; init; }

    /// <summary>The backing file's format by QEMU's name; required with a backing file.</summary>
    public string? BackingFormat { get; init; }

    /// <summary>
    /// The path of the file that holds the guest data, stored as it is; null when the image holds them itself. Version 3 only.
    /// </summary>
    /// <remarks>
    /// A relative path is relative to the process's current folder, not to the image: QEMU makes and opens it so, whatever folder
    /// it runs in then. Better give a whole path.
    /// </remarks>
    public string? DataFile { get; init; }

    /// <summary>
    /// Whether the data file is to be a raw image at all times, so that other programs can read it. Implies
    /// <see cref="Preallocation.Metadata"/>.
    /// </summary>
    public bool DataFileRaw { get; init; }

    /// <summary>Whether the data file is a disk that exists: not a byte of it is touched. Needs <see cref="DataFileRaw"/>.</summary>
    public bool KeepDataFile { get; init; }

    /// <summary>
    /// What is allocated from the start. With a backing file only <see cref="Preallocation.Off"/>, unless L2 entries are extended.
    /// </summary>
    public Preallocation Preallocation { get; init; }

    internal bool AllocatesMetadata => Preallocation != Preallocation.Off || DataFileRaw;

    /// <summary>Says why no image can be made so, as far as that can be told without looking at any file.</summary>
    /// <returns>The first reason, in qemu-img's words and order where it has one; null when nothing is wrong.</returns>
    public string? FindFault() => CreationPlan.TryMake(this, out string? fault) is null ? fault : null;
}
