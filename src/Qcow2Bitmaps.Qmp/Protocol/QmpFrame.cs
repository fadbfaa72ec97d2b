namespace Qcow2Bitmaps.Qmp.Protocol;

/// <summary>One message out of the stream, or what was wrong with it.</summary>
/// <param name="Json">The message as plain JSON, until the framer is called again; empty with a fault.</param>
/// <param name="Fault">Why there is no message; null when there is one.</param>
/// <param name="TrailingCommas">How many commas that JSON forbids were left out.</param>
internal readonly record struct QmpFrame(ReadOnlyMemory<byte> Json, string? Fault, int TrailingCommas);
