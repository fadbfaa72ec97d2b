namespace Qcow2Bitmaps.Backups;

/// <summary>A part of a backup that is not as its manifest says.</summary>
/// <param name="OffsetBytes">Where the part, a group of checksums, starts on the disk, in bytes.</param>
/// <param name="Detail">What is wrong, in words.</param>
public sealed record BackupDamage(long OffsetBytes, string Detail);
