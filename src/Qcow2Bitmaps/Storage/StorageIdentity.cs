namespace Qcow2Bitmaps.Storage;

/// <summary>What a storage says that it is, to compare: <c>==</c> of two objects would compare references.</summary>
/// <param name="Value">The identity, as <see cref="ImageStorage.Identity"/> tells it.</param>
internal readonly record struct StorageIdentity(object Value);
