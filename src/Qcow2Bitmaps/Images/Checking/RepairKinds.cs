namespace Qcow2Bitmaps;

/// <summary>What a repair may do.</summary>
[Flags]
public enum RepairKinds
{
    /// <summary>Nothing.</summary>
    None = 0,
    /// <summary>
    /// Lower reference counts that are too high, and set right the flags that follow from counts, unless corruptions remain.
    /// </summary>
    Leaks = 1,
    /// <summary>
    /// Raise reference counts, rebuild them where they cannot be mended in place, and mend entries of tables and snapshots.
    /// </summary>
    Corruptions = 2,
    /// <summary>
    /// Mend what keeps QEMU from opening the image because of its bitmaps. A bitmap whose bits are in doubt
    /// is made dirty there, or dropped.
    /// </summary>
    Bitmaps = 4,
    /// <summary>What <c>qemu-img check -r all</c> does.</summary>
    All = Leaks | Corruptions,
}
