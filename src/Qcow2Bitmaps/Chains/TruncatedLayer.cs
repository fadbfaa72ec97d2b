namespace Qcow2Bitmaps;

/// <summary>An image of a chain whose file ends before clusters that it names. Immutable.</summary>
/// <param name="Layer">The image.</param>
/// <param name="Fault">Where the file ends and where it would have to.</param>
public sealed record TruncatedLayer(ChainLayer Layer, FormatFault Fault);
