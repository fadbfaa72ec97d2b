using Qcow2Bitmaps.Images.Creation;

namespace Qcow2Bitmaps;

/// <summary>How a disk is copied to another image. Immutable and safe to share between threads.</summary>
public sealed record ConversionOptions
{
    /// <summary>The most workers, as in qemu-img.</summary>
    internal const int MaxWorkers = 16;

    /// <summary>
    /// As many as there are processors, from 2 to 8: writes to one file take turns anyway, and more workers are in one another's way.
    /// </summary>
    internal static readonly int DefaultWorkers = Math.Clamp(Environment.ProcessorCount, 2, 8);

    /// <summary>The largest value of <see cref="SparseBytes"/>: 16 MiB.</summary>
    internal const int MaxSparseBytes = 16 << 20;

    /// <summary>Whether the target is a qcow2 image; else it is raw.</summary>
    public bool IsQcow2 { get; init; }

    /// <summary>
    /// What a new qcow2 target is like; the defaults when null. The disk's size is that of the sources, whatever is said here.
    /// </summary>
    public Qcow2CreateOptions? Create { get; init; }

    /// <summary>The space that a new raw target gets from the start: none, or all.</summary>
    public Preallocation RawPreallocation { get; init; }

    /// <summary>
    /// Whether the target is written as it is, instead of being made. It must be large enough; what it has behind the sources' end stays.
    /// </summary>
    public bool TargetExists { get; init; }

    /// <summary>Of a target that exists: whether it reads as zeros from end to end, so that none have to be written.</summary>
    public bool TargetIsZero { get; init; }

    /// <summary>
    /// Of a target that exists: whether it has a backing file like that of the source, so that what it reads already is not written.
    /// </summary>
    public bool TargetHasBacking { get; init; }

    /// <summary>Whether clusters are compressed; qcow2 with zlib only.</summary>
    public bool Compress { get; init; }

    /// <summary>
    /// How many parts of the disk are in work at a time at most, each with a buffer of its own, and so how far writing strays from the
    /// disk's order: 1 to 16. The default is the number of processors, from 2 to 8.
    /// </summary>
    public int Workers { get; init; } = DefaultWorkers;

    /// <summary>
    /// How many bytes of zeros, at a multiple of as many, are left out: a multiple of 512 up to
    /// 16 MiB; 0 writes all zeros as data.
    /// </summary>
    public int SparseBytes { get; init; } = 4096;

    /// <summary>
    /// Whether the target is flushed, so that it survives a loss of power once the copying is done. Without
    /// that nothing waits for the disk.
    /// </summary>
    public bool Flush { get; init; } = true;

    /// <summary>
    /// How many bytes of data are written in a second at most; 0 for no limit. Data that are shared with the source count, zeros do not.
    /// </summary>
    public long BytesPerSecond { get; init; }

    /// <summary>
    /// Whether data are shared with the source instead of being copied where the file system can do that (XFS, btrfs), as <c>cp</c> does.
    /// Both read the same, and whatever is written later to one of them is written elsewhere; but a block that the disk loses is lost to
    /// both. Not where the target exists, or gets its space from the start.
    /// </summary>
    public bool UsesReflinks { get; init; } = true;

    /// <summary>What is done about bitmaps.</summary>
    public BitmapCopying Bitmaps { get; init; }

    /// <summary>Folders from which files below the target's backing file may be opened, besides that file's own.</summary>
    public IReadOnlyList<string> AllowedFolders { get; init; } = [];

    /// <summary>How closely the copying is gone through without doing it, on stand-ins for the files; null where it is meant.</summary>
    internal MeasureDepth? Rehearses { get; init; }

    /// <summary>
    /// Whether a new qcow2 image can be opened while it is not whole, as somebody goes on with it after a
    /// stop; else it appears when all is in it.
    /// </summary>
    internal bool AppearsAtOnce { get; init; }

    /// <summary>
    /// Whether zeros are held by the target itself where its backing file reads as zeros already: so that it tells all that was copied.
    /// </summary>
    internal bool HoldsZeros { get; init; }

    /// <summary>Says what of the options does not go together; null when all does.</summary>
    /// <returns>The first fault, in qemu-img's words where it has some.</returns>
    public string? FindFault() =>
        Workers is < 1 or > MaxWorkers ? $"Invalid number of coroutines. Allowed number of coroutines is between 1 and {MaxWorkers}"
        : SparseBytes is < 0 or > MaxSparseBytes || SparseBytes % 512 != 0
            ? $"Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to {MaxSparseBytes}. "
                + $"Select 0 to disable sparse detection (fully allocates output)."
        : TargetIsZero && !TargetExists ? "A target that is made anew cannot be said to be zero"
        : TargetIsZero && TargetHasBacking ? "A target with a backing file cannot be said to be zero"
        : Compress && !IsQcow2 ? "Compression not supported for this file format"
        : Compress && Create is { Preallocation: not Preallocation.Off } ? "Compression and preallocation not supported at the same time"
        : Compress && Create is { CompressionType: not Qcow2Bitmaps.CompressionType.Zlib }
            ? "Clusters are compressed with zlib only; other compression types are read, not written"
        : Compress && Create is { DataFile: not null } ? "Clusters in an external data file cannot be compressed"
        : RawPreallocation is not (Preallocation.Off or Preallocation.Falloc or Preallocation.Full)
            ? $"Unsupported preallocation mode: {ReservedSpace.NameOf(RawPreallocation)}"
        : Create is { KeepDataFile: true } ? "A data file that is kept as it is cannot be copied to"
        : Bitmaps != BitmapCopying.None && (!IsQcow2 || Create is { Version: < 3 })
            ? $"Format driver '{(IsQcow2 ? "qcow2" : "raw")}' does not support bitmaps"
        : null;
}
