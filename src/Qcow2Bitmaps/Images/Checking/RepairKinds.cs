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
    /// Raise reference counts, rebuild them if they cannot be repaired in place, and repair entries of tables and snapshots.
    /// </summary>
    Corruptions = 2,
    /// <summary>
    /// Repair bitmap faults that keep QEMU from opening the image. Doubtful ranges of a bitmap become dirty, or the bitmap is dropped.
    /// </summary>
    Bitmaps = 4,
    /// <summary>What <c>qemu-img check -r all</c> does: without <see cref="Bitmaps"/>.</summary>
    All = Leaks | Corruptions,
}
