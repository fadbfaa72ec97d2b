namespace Qcow2Bitmaps.Copying;

/// <summary>A part of the disk that is to be written, in bytes.</summary>
internal readonly record struct CopyWrite(long OffsetBytes, long EndBytes, bool IsZero);
