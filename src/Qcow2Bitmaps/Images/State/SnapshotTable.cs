namespace Qcow2Bitmaps.Images.State;

/// <summary>The table of internal snapshots as it was read.</summary>
/// <param name="Snapshots">The snapshots.</param>
/// <param name="LengthBytes">The bytes that the table takes.</param>
internal sealed record SnapshotTable(IReadOnlyList<SnapshotInfo> Snapshots, long LengthBytes);
