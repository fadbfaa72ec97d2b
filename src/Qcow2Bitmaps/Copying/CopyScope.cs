namespace Qcow2Bitmaps.Copying;

/// <summary>What is copied of disks, and what is not.</summary>
/// <param name="Sources">The disks, one behind the other.</param>
internal sealed record CopyScope(params IReadOnlyList<Disk> Sources)
{
    /// <summary>From which image of the source on down the target reads the same.</summary>
    public int SkipFromDepth { get; init; } = int.MaxValue;

    /// <summary>From which image of the source on down the target may read the same.</summary>
    public int CompareFromDepth { get; init; } = int.MaxValue;

    /// <summary>Down to which image of the source, without it, the target has all that those images have.</summary>
    public int CopyFromDepth { get; init; }

    /// <summary>
    /// The parts of the disk that are copied, nothing else; all of it when null. They start and end at the
    /// target's clusters, or at the disk's end.
    /// </summary>
    public CopyRanges? Ranges { get; init; }

    /// <summary>Is shown all that is written; null for nobody.</summary>
    public ICopyObserver? Observer { get; init; }
}
