namespace Qcow2Bitmaps;

/// <summary>What a check found, as <c>qemu-img check</c> counts. Immutable.</summary>
public sealed record CheckReport
{
    /// <summary>The most findings that are kept; all are counted.</summary>
    internal const int MaxKeptFindings = 100_000;

    internal CheckReport()
    {
    }

    /// <summary>Structures that are broken, and clusters that are used more often than counted.</summary>
    public required long Corruptions { get; init; }

    /// <summary>Clusters that are counted more often than used.</summary>
    public required long Leaks { get; init; }

    /// <summary>Clusters and structures that could not be checked.</summary>
    public required long CheckErrors { get; init; }

    /// <summary>Clusters of the disk.</summary>
    public required long TotalClusters { get; init; }

    /// <summary>Clusters of the disk that have data of their own.</summary>
    public required long AllocatedClusters { get; init; }

    /// <summary>Allocated clusters that do not follow the one before in the file. Compressed ones never do.</summary>
    public required long FragmentedClusters { get; init; }

    /// <summary>Allocated clusters that are compressed.</summary>
    public required long CompressedClusters { get; init; }

    /// <summary>The end of the last cluster that is used or counted, in bytes from the start of the file.</summary>
    public required long ImageEndOffset { get; init; }

    /// <summary>Corruptions that a repair has fixed. 0 without one.</summary>
    public long CorruptionsFixed { get; init; }

    /// <summary>Leaks that a repair has fixed. 0 without one.</summary>
    public long LeaksFixed { get; init; }

    /// <summary>
    /// What a repair found and did, in order; empty if nothing was repaired. The other members are the results of the check after it.
    /// </summary>
    public IReadOnlyList<CheckFinding> Repairs { get; init; } = [];

    /// <summary>The findings in the order in which they were made, at most 100,000.</summary>
    public required IReadOnlyList<CheckFinding> Findings { get; init; }
}
