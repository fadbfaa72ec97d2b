namespace Qcow2Bitmaps;

/// <summary>What a comparison of two disks found. Immutable.</summary>
public sealed record ImageComparison
{
    internal ImageComparison(ComparisonOutcome outcome, long offsetBytes, bool sizesDiffer)
    {
        Outcome = outcome;
        OffsetBytes = offsetBytes;
        SizesDiffer = sizesDiffer;
    }

    /// <summary>The first difference's kind, or none.</summary>
    public ComparisonOutcome Outcome { get; }

    /// <summary>
    /// Where the first difference is, in bytes: the sector of 512 bytes, or the part that the images have in different ways. 0 without one.
    /// </summary>
    public long OffsetBytes { get; }

    /// <summary>
    /// Whether one disk is longer than the other; not looked at when the bytes differ before the shorter one's end.
    /// </summary>
    public bool SizesDiffer { get; }
}
