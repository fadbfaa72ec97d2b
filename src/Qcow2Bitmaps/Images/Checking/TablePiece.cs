namespace Qcow2Bitmaps.Images.Checking;

/// <summary>A piece of a table that may hold something else than zeros.</summary>
/// <param name="Offset">Where it starts, in bytes from the start of the file.</param>
/// <param name="Bytes">The bytes; the reader's own, overwritten by its next reading.</param>
internal readonly record struct TablePiece(long Offset, Memory<byte> Bytes)
{
    /// <summary>Where it ends.</summary>
    public long EndOffset => Offset + Bytes.Length;
}
