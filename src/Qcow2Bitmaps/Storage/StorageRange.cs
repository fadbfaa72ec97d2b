namespace Qcow2Bitmaps.Storage;

/// <summary>A range of a storage, in bytes.</summary>
/// <param name="Offset">The first byte's offset.</param>
/// <param name="EndOffset">The offset after the last byte, above <paramref name="Offset"/>.</param>
public readonly record struct StorageRange(long Offset, long EndOffset);
