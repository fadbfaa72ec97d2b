namespace Qcow2Bitmaps.Backups;

/// <summary>A part of the disk, and what a backup itself stores of it. Parts of which it stores nothing have no group.</summary>
/// <param name="OffsetBytes">Where it starts on the disk, in bytes.</param>
/// <param name="DataBytes">How many bytes are data, in blocks of 64 KiB that are not all zeros.</param>
/// <param name="ZeroBytes">The number of bytes stored as zeros, in such blocks; 0 in a full backup, where whatever is
/// absent is zeros.</param>
/// <param name="Sha256">The checksum of the blocks' positions and of the data: see <see cref="GroupDigests"/>.</param>
internal sealed record BackupGroup(long OffsetBytes, long DataBytes, long ZeroBytes, ReadOnlyMemory<byte> Sha256);
