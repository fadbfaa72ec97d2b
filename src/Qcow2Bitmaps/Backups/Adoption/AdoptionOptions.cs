using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Backups;

/// <summary>How backups of other programs are adopted. Immutable and safe to share between threads.</summary>
public sealed record AdoptionOptions
{
    /// <summary>
    /// The bitmap that records since the point of the last backup, or since an earlier one: the checkpoint that started with it.
    /// </summary>
    public required string Checkpoint { get; init; }

    /// <summary>How the disk's chain is opened; none of its images is written.</summary>
    public ChainOpenOptions Chain { get; init; } = ChainOpenOptions.Default;

    /// <summary>The format of the first image, <c>qcow2</c> or <c>raw</c>; probed when null. All others are qcow2.</summary>
    public string? FirstFormat { get; init; }

    /// <summary>Whether the caller vouches for the series, so that it is not compared with the disk. The manifests say so.</summary>
    public bool IsTrusted { get; init; }

    /// <summary>The number of parts of an image that are processed concurrently: 1 to <see cref="ConversionOptions.MaxWorkers"/>.</summary>
    internal int Workers { get; init; } = ConversionOptions.DefaultWorkers;

    /// <summary>Returns which option is invalid; null if all are valid.</summary>
    internal string? FindFault() =>
        BitmapName.FaultOf(Checkpoint) is { } fault ? fault
        : FirstFormat is not (null or ImageFormat.Qcow2 or ImageFormat.Raw)
            ? PrintableMessage.Of($"The first image's format is qcow2 or raw, not '{FirstFormat}'")
        : Workers is < 1 or > ConversionOptions.MaxWorkers ? $"The number of workers is between 1 and {ConversionOptions.MaxWorkers}"
        : null;
}
