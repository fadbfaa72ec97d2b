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

    /// <summary>The compression of clusters. Version 2 has only <see cref="CompressionType.Zlib"/>.</summary>
    public CompressionType CompressionType { get; init; }

    /// <summary>Whether writers may keep reference counts back until they close the image. Version 3 only.</summary>
    public bool LazyRefcounts { get; init; }

    /// <summary>
    /// The name of the backing file, stored unchanged, at most 1023 bytes; null without one. The file is not opened: the caller must know
    /// its size.
    /// </summary>
    public string? BackingFile { get; init; }

    /// <summary>The backing file's format by QEMU's name; required with a backing file.</summary>
    public string? BackingFormat { get; init; }

    /// <summary>
    /// The path of the file that holds the guest data, stored unchanged; null if the image holds them itself. Version 3 only.
    /// </summary>
    /// <remarks>
    /// A relative path is relative to the process's current folder, not to the image: QEMU creates and opens it the same way, relative to
    /// the folder in which it then runs. Prefer an absolute path.
    /// </remarks>
    public string? DataFile { get; init; }

    /// <summary>
    /// Whether the data file is always a valid raw image, so that other programs can read it. Implies <see cref="Preallocation.Metadata"/>.
    /// </summary>
    public bool DataFileRaw { get; init; }

    /// <summary>Whether the data file is an existing disk, of which no byte is changed. Needs <see cref="DataFileRaw"/>.</summary>
    public bool KeepDataFile { get; init; }

    /// <summary>
    /// What is allocated from the start. With a backing file only <see cref="Preallocation.Off"/>, unless L2 entries are extended.
    /// </summary>
    public Preallocation Preallocation { get; init; }

    internal bool AllocatesMetadata => Preallocation != Preallocation.Off || DataFileRaw;

    /// <summary>Why an image with these options cannot be created, as far as can be determined without accessing any file.</summary>
    /// <returns>The first reason, in qemu-img's words and order where it has one; null when nothing is wrong.</returns>
    public string? FindFault() => CreationPlan.TryMake(this, out string? fault) is null ? fault : null;
}
