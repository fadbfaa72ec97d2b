namespace Qcow2Bitmaps.Format;

/// <summary>A header extension kept for later: its type and a copy of its data.</summary>
/// <param name="Type">The type; values outside the enumeration are kept as they are.</param>
/// <param name="Data">The data, without padding.</param>
/// <param name="DataOffset">The offset of the data, in bytes from the start of the file; 0 for an extension that was never read.</param>
internal sealed record RawHeaderExtension(HeaderExtensionType Type, ReadOnlyMemory<byte> Data, int DataOffset = 0);
