namespace Qcow2Bitmaps.Images.Checking;

/// <summary>A piece of a table that may hold non-zero entries.</summary>
/// <param name="Offset">Where it starts, in bytes from the start of the file.</param>
/// <param name="Bytes">The bytes, in the reader's buffer; overwritten by its next read.</param>
internal readonly record struct TablePiece(long Offset, Memory<byte> Bytes)
{
    /// <summary>Where it ends.</summary>
    public long EndOffset => Offset + Bytes.Length;
}
