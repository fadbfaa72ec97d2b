namespace Qcow2Bitmaps.Copying;

/// <summary>A part of the disk to copy.</summary>
/// <param name="Source">The disk to read it from.</param>
/// <param name="Extent">The source's extent.</param>
/// <param name="OffsetBytes">Where it starts on the target's disk, in bytes.</param>
/// <param name="Kind">What is to be done with it.</param>
internal readonly record struct CopyPiece(Disk Source, DiskExtent Extent, long OffsetBytes, CopyPieceKind Kind)
{
    public long LengthBytes => Extent.LengthBytes;

    public long EndBytes => OffsetBytes + Extent.LengthBytes;
}
