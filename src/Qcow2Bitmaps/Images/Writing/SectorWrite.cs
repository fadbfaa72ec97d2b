namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Bytes of the first cluster that change, all in one sector: written as a whole or not at all.</summary>
/// <param name="Offset">Where they stand, in bytes from the start of the file.</param>
/// <param name="Before">What stands there.</param>
/// <param name="After">What is to stand there, as many bytes.</param>
internal sealed record SectorWrite(int Offset, ReadOnlyMemory<byte> Before, ReadOnlyMemory<byte> After);
