namespace Qcow2Bitmaps.Operations;

/// <summary>How images are committed. Immutable.</summary>
public sealed record CommitOptions
{
    /// <summary>The defaults.</summary>
    public static CommitOptions Default { get; } = new();

    /// <summary>
    /// Whether bitmaps may be lost that the base cannot hold, as it is raw or of version 2; else that is
    /// refused before anything is written.
    /// </summary>
    public bool DropBitmaps { get; init; }

    /// <summary>
    /// Whether the operation goes on with what qemu-img goes on with: images whose file ends before clusters that they name
    /// (<see cref="ImageChain.FindTruncationsAsync"/>), where zeros are copied for what is missing, and internal snapshots that read other
    /// data afterwards (<see cref="ChainCommit.FindChangedSnapshots"/>). Else both are refused before anything is written.
    /// </summary>
    public bool AcceptsLosses { get; init; }

    /// <summary>
    /// The base's name as the image above the committed ones is to store it, which has to lead to that file; null for its file name where
    /// both lie in one folder, else its whole path.
    /// </summary>
    public string? BackingFile { get; init; }

    /// <summary>How many parts of the disk are in work at a time, each with a buffer of its own.</summary>
    public int Workers { get; init; } = ConversionOptions.DefaultWorkers;

    /// <inheritdoc cref="ConversionOptions.BytesPerSecond"/>
    public long BytesPerSecond { get; init; }

    /// <summary>As of <see cref="ConversionOptions.Rehearses"/>.</summary>
    internal MeasureDepth? Rehearses { get; init; }
}
