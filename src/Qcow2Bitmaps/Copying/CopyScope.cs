namespace Qcow2Bitmaps.Copying;

/// <summary>Selects what is copied of disks.</summary>
/// <param name="Sources">The disks, concatenated in this order.</param>
internal sealed record CopyScope(params IReadOnlyList<Disk> Sources)
{
    /// <summary>The depth of the source from which on down the target already reads the same.</summary>
    public int SkipFromDepth { get; init; } = int.MaxValue;

    /// <summary>The depth of the source from which on down the target may already read the same, so that it is compared.</summary>
    public int CompareFromDepth { get; init; } = int.MaxValue;

    /// <summary>The target already has all data of the source's images above this depth.</summary>
    public int CopyFromDepth { get; init; }

    /// <summary>
    /// The parts of the disk that are copied, nothing else; all of it when null. They start and end at the
    /// target's clusters, or at the disk's end.
    /// </summary>
    public CopyRanges? Ranges { get; init; }

    /// <summary>Is notified of everything that is written; may be null.</summary>
    public ICopyObserver? Observer { get; init; }
}
