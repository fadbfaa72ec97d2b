namespace Qcow2Bitmaps.Backups;

/// <summary>A part of the disk, and what a backup itself holds of it. Parts of which it holds nothing have none.</summary>
/// <param name="OffsetBytes">Where it starts on the disk, in bytes.</param>
/// <param name="DataBytes">How many bytes are data, in blocks of 64 KiB that are not all zeros.</param>
/// <param name="ZeroBytes">How many bytes are held as zeros, in such blocks; of a full backup none, where zeros are what is absent.</param>
/// <param name="Sha256">The checksum of where those stand and of the data: see <see cref="GroupDigests"/>.</param>
internal sealed record BackupGroup(long OffsetBytes, long DataBytes, long ZeroBytes, ReadOnlyMemory<byte> Sha256);
