namespace Qcow2Bitmaps.Qmp.Protocol;

/// <summary>One message from the stream, or what was wrong with it.</summary>
/// <param name="Json">The message as plain JSON, until the framer is called again; empty with a fault.</param>
/// <param name="Fault">Why there is no message; null when there is one.</param>
/// <param name="TrailingCommas">The number of commas that were removed because JSON forbids them.</param>
internal readonly record struct QmpFrame(ReadOnlyMemory<byte> Json, string? Fault, int TrailingCommas);
