namespace Qcow2Bitmaps;

/// <summary>How much of a disk is dirty.</summary>
/// <param name="Bits">Dirty granules.</param>
/// <param name="Bytes">Their bytes, cut at the disk's end.</param>
public readonly record struct DirtyCount(long Bits, long Bytes);
