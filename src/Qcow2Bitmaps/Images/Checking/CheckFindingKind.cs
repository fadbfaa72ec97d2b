namespace Qcow2Bitmaps;

/// <summary>What a finding of a check means for the image.</summary>
public enum CheckFindingKind
{
    /// <summary>A cluster is counted but not used: only space is wasted.</summary>
    Leak,
    /// <summary>
    /// A cluster is used and not counted, or a structure is broken: data may be corrupt, or may become so with the next write.
    /// </summary>
    Corruption,
    /// <summary>Something could not be checked.</summary>
    CheckError,
    /// <summary>Something that was wrong and was repaired, or a step of a repair.</summary>
    Repair,
}
