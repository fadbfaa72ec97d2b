namespace Qcow2Bitmaps.Storage;

/// <summary>What a path leads to.</summary>
/// <param name="RealPath">Where it really is, every symbolic link followed.</param>
/// <param name="IsBlockDevice">Whether it is a block device; else it is a regular file.</param>
internal readonly record struct FilePlace(string RealPath, bool IsBlockDevice);
