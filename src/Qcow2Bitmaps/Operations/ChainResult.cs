namespace Qcow2Bitmaps.Operations;

/// <summary>What an operation on a chain has done.</summary>
/// <param name="Bitmaps">What became of bitmaps, in the order in which it was done.</param>
/// <param name="CopiedBytes">How many bytes of the disk were copied, those that were made to read as zeros among them.</param>
public sealed record ChainResult(IReadOnlyList<BitmapChange> Bitmaps, long CopiedBytes);
