namespace Qcow2Bitmaps.Copying;

/// <summary>
/// A part of the disk that one worker processes: at most as much as its buffer holds, or a run of any length that need not be read.
/// </summary>
internal sealed class CopyItem
{
    /// <summary>Its pieces, in ascending order without gaps.</summary>
    public List<CopyPiece> Pieces { get; } = [];

    public long OffsetBytes => Pieces[0].OffsetBytes;

    public long EndBytes => Pieces[^1].EndBytes;

    /// <summary>Whether it is a single run that need not be read.</summary>
    public bool IsRun => Pieces.Count == 1 && Pieces[0].Kind is CopyPieceKind.Zero or CopyPieceKind.Skip;
}
