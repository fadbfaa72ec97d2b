namespace Qcow2Bitmaps.Images.Checking;

/// <summary>An L2 table, and how often L1 tables name it.</summary>
/// <param name="Offset">Where it starts, in bytes from the start of the file; may lie anywhere.</param>
/// <param name="Times">How often it is named, by the active L1 table and by those of snapshots.</param>
/// <param name="ActiveTimes">How often the active one names it.</param>
internal readonly record struct L2Table(long Offset, long Times, long ActiveTimes);
