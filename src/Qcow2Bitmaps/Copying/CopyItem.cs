namespace Qcow2Bitmaps.Copying;

/// <summary>
/// A part of the disk that one worker has in work: as much as its buffer takes, or a run of any length of which no byte has to be read.
/// </summary>
internal sealed class CopyItem
{
    /// <summary>Its pieces, in ascending order without gaps.</summary>
    public List<CopyPiece> Pieces { get; } = [];

    public long OffsetBytes => Pieces[0].OffsetBytes;

    public long EndBytes => Pieces[^1].EndBytes;

    /// <summary>Whether it is one run that is not read.</summary>
    public bool IsRun => Pieces.Count == 1 && Pieces[0].Kind is CopyPieceKind.Zero or CopyPieceKind.Skip;
}
