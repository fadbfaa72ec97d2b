namespace Qcow2Bitmaps.Operations;

/// <summary>How an image gets another backing file. Immutable.</summary>
public sealed record RebaseOptions
{
    /// <summary>The defaults.</summary>
    public static RebaseOptions Default { get; } = new();

    /// <summary>
    /// The image that gets another backing file, by its index from the chain's top, which it is by default. Where it has overlays, the
    /// chain has to be that of the active image: else a bitmap of an overlay that is not valid may look valid afterwards.
    /// </summary>
    public int Top { get; init; }

    /// <summary>What becomes of bitmaps that are not valid and would look so afterwards.</summary>
    public GapPolicy Gaps { get; init; }

    /// <summary>
    /// Whether the operation goes on with what qemu-img goes on with: images whose file ends before clusters that they name
    /// (<see cref="ImageChain.FindTruncationsAsync"/>), where zeros are copied for what is missing, and internal snapshots that read other
    /// data afterwards (<see cref="ChainRebase.FindChangedSnapshots"/>). Else both are refused before anything is written.
    /// </summary>
    public bool AcceptsLosses { get; init; }

    /// <summary>
    /// The backing file's name as the image is to store it, which has to lead to that file; null for its file name where
    /// both lie in one folder, else its whole path.
    /// </summary>
    public string? BackingFile { get; init; }

    /// <summary>How many parts of the disk are in work at a time, each with a buffer of its own.</summary>
    public int Workers { get; init; } = ConversionOptions.DefaultWorkers;

    /// <summary>As of <see cref="ConversionOptions.Rehearses"/>.</summary>
    internal MeasureDepth? Rehearses { get; init; }
}
