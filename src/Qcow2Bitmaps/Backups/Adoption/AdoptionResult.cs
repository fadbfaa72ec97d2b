namespace Qcow2Bitmaps.Backups;

/// <summary>The result of an adoption.</summary>
public sealed record AdoptionResult
{
    internal AdoptionResult(IReadOnlyList<StoredBackup> backups, int knownCount, long? comparedBytes)
    {
        Backups = backups;
        KnownCount = knownCount;
        ComparedBytes = comparedBytes;
    }

    /// <summary>The series, the oldest first.</summary>
    public IReadOnlyList<StoredBackup> Backups { get; }

    /// <summary>How many of them, from the oldest on, had manifests before; these are as they were, except for a bitmap that they gave
    /// up.</summary>
    public int KnownCount { get; }

    /// <summary>How many bytes of the disk were compared; null where the caller vouched for the series.</summary>
    public long? ComparedBytes { get; }
}
