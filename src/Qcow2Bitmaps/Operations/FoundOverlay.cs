namespace Qcow2Bitmaps.Operations;

/// <summary>An image that has one of a chain as its backing file, and is not part of that chain.</summary>
/// <param name="Path">Its path.</param>
/// <param name="BackingLayer">The index of its backing file in the chain.</param>
public sealed record FoundOverlay(string Path, int BackingLayer);
