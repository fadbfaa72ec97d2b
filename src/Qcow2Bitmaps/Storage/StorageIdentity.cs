namespace Qcow2Bitmaps.Storage;

/// <summary>Identifies a file or device, whatever path leads to it.</summary>
/// <param name="Device">The device that holds the file; for a device node, the device itself.</param>
/// <param name="Inode">The file's number on it; 0 for a device node.</param>
public readonly record struct StorageIdentity(ulong Device, ulong Inode);
