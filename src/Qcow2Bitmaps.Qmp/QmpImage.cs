namespace Qcow2Bitmaps.Qmp;

/// <summary>An image that clients can name.</summary>
/// <param name="Node">The node and device: a letter, then letters, digits, <c>-</c>, <c>.</c>, <c>_</c>; at most 31 characters.</param>
/// <param name="Path">The top image of a chain: a qcow2 image.</param>
/// <param name="IsReadOnly">Whether it is only read.</param>
public sealed record QmpImage(string Node, string Path, bool IsReadOnly = false);
