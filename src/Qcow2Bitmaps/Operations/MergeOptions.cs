using Qcow2Bitmaps.Copying;

namespace Qcow2Bitmaps.Operations;

/// <summary>Which images are committed, pulled or rebased, and how. Immutable.</summary>
public sealed record MergeOptions
{
    /// <summary>
    /// The topmost image that is committed, or the one that gets another backing file; the active image when null. Open the chain from the
    /// active image even if this one is lower: otherwise an invalid bitmap of an image above may look valid afterwards.
    /// </summary>
    public string? TopPath { get; init; }

    /// <summary>
    /// Of a commit the image that takes all, the one right below the top when null. Of a pull the image of the chain that becomes the
    /// backing file, of a rebase any image; null for none.
    /// </summary>
    public string? BasePath { get; init; }

    /// <summary>
    /// The base's name as the image above it is to store it, which has to lead to that file; null for its file name where both lie in one
    /// folder, else its whole path.
    /// </summary>
    public string? BackingFile { get; init; }

    /// <summary>
    /// Of a commit: whether the committed images will be kept, so that overlays of the topmost one go on reading the same. The commit
    /// itself removes nothing; this decides for which images <see cref="ChainOperation.FindOverlaysAsync"/> looks, and
    /// <see cref="ChainCommit.RemoveCommittedAsync"/> refuses.
    /// </summary>
    public bool KeepsImages { get; init; }

    /// <summary>
    /// Of a commit: whether bitmaps may be lost that the base cannot hold, as it is raw or of version 2; else that is refused before
    /// anything is written.
    /// </summary>
    public bool DropBitmaps { get; init; }

    /// <summary>
    /// Of a pull or rebase: whether a bitmap that is not valid, and would look valid once images have left the chain, is disabled. Else
    /// what those images have is marked in it, a superset of what was written there; where that cannot be told it is disabled too.
    /// </summary>
    public bool DisablesGaps { get; init; }

    /// <summary>
    /// Whether to continue in two cases that lose data, and that qemu-img ignores: images whose file ends before clusters that they name
    /// (<see cref="ImageChain.FindTruncationsAsync"/>), whose missing data become zeros, and internal snapshots that read other data
    /// afterwards (<see cref="ChainOperation.ChangedSnapshots"/>). Otherwise both are refused before anything is written.
    /// </summary>
    public bool AcceptsLosses { get; init; }

    /// <inheritdoc cref="ConversionOptions.BytesPerSecond"/>
    public long BytesPerSecond
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value);
            field = value;
        }
    }

    /// <summary>The number of parts of the disk that are copied concurrently, each with its own buffer.</summary>
    internal int Workers { get; init; } = ConversionOptions.DefaultWorkers;

    /// <summary>As of <see cref="ConversionOptions.Rehearses"/>.</summary>
    internal MeasureDepth? Rehearses { get; init; }

    internal ConversionOptions Copying => new() { Workers = Workers, BytesPerSecond = BytesPerSecond, Rehearses = Rehearses };
}
