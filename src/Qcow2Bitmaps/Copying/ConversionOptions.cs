using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Disks;

namespace Qcow2Bitmaps;

/// <summary>How a disk is copied to another image. Immutable and safe to share between threads.</summary>
public sealed record ConversionOptions
{
    /// <summary>The most workers, as in qemu-img.</summary>
    internal const int MaxWorkers = 16;

    /// <summary>
    /// The number of processors, but from 2 to 8: writes to one file are serialized anyway, and more workers only slow each other down.
    /// </summary>
    internal static readonly int DefaultWorkers = Math.Clamp(Environment.ProcessorCount, 2, 8);

    /// <summary>The largest value of <see cref="SparseBytes"/>: 16 MiB.</summary>
    internal const int MaxSparseBytes = 16 << 20;

    /// <summary>Whether the target is a qcow2 image; else it is raw.</summary>
    public bool IsQcow2 { get; init; }

    /// <summary>
    /// How a new qcow2 target is created; the defaults when null. The disk's size always comes from the sources, not from these options.
    /// </summary>
    public Qcow2CreateOptions? Create { get; init; }

    /// <summary>How much space is preallocated for a new raw target: none or all.</summary>
    public Preallocation RawPreallocation { get; init; }

    /// <summary>
    /// Whether an existing target is written in place instead of being created. It must be large enough; its content beyond
    /// the sources' end is kept.
    /// </summary>
    public bool TargetExists { get; init; }

    /// <summary>For an existing target: whether all of it reads as zeros, so that zeros need not be written.</summary>
    public bool TargetIsZero { get; init; }

    /// <summary>
    /// For an existing target: whether it has a backing file like the source's, so that data it already reads are not written.
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
    /// The maximum number of data bytes written per second; 0 for no limit. Data shared with the source count, zeros do not.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">The number is negative.</exception>
    public long BytesPerSecond
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value);
            field = value;
        }
    }

    /// <summary>
    /// Whether data are shared with the source instead of copied if the file system supports that (XFS, btrfs), as <c>cp</c> does. Both
    /// files read the same, and later writes to one do not change the other; but if the disk loses a block, both files lose it. Not used if
    /// the target exists or is preallocated.
    /// </summary>
    public bool UsesReflinks { get; init; } = true;

    /// <summary>How bitmaps are handled.</summary>
    public BitmapCopying Bitmaps { get; init; }

    /// <summary>Folders, besides the backing file's own, from which files below the target's backing file may be opened.</summary>
    public IReadOnlyList<string> AllowedFolders { get; init; } = [];

    /// <summary>The depth at which the copy is only rehearsed, on stand-ins for the files; null for a real copy.</summary>
    internal MeasureDepth? Rehearses { get; init; }

    /// <summary>
    /// Whether a new qcow2 image can be opened before it is complete, so that it can be resumed after a stop; otherwise it appears
    /// only when it is complete.
    /// </summary>
    internal bool AppearsAtOnce { get; init; }

    /// <summary>
    /// Whether the target stores zeros even where its backing file already reads as zeros, so that it shows everything that was copied.
    /// </summary>
    internal bool HoldsZeros { get; init; }

    /// <summary>Checks whether the options can be combined.</summary>
    /// <returns>The first conflict, in qemu-img's words if it has any; null if there is none.</returns>
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
