namespace Qcow2Bitmaps.Images.Checking;

/// <summary>An L2 table, and how often L1 tables refer to it.</summary>
/// <param name="Offset">Where it starts, in bytes from the start of the file; may lie anywhere.</param>
/// <param name="Times">The number of references, from the active L1 table and those of snapshots.</param>
/// <param name="ActiveTimes">The number of references from the active L1 table.</param>
internal readonly record struct L2Table(long Offset, long Times, long ActiveTimes);
