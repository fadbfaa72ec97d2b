using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Snapshots;

/// <summary>The bytes of one entry of the snapshot table, padding included.</summary>
/// <param name="Info">Their decoded values.</param>
/// <param name="Bytes">The bytes.</param>
internal sealed record SnapshotRecord(SnapshotInfo Info, ReadOnlyMemory<byte> Bytes)
{
    /// <summary>Splits a table into its entries, so that each can be written back unchanged.</summary>
    public static List<SnapshotRecord> ListOf(IReadOnlyList<SnapshotInfo> snapshots, ReadOnlyMemory<byte> table)
    {
        var records = new List<SnapshotRecord>(snapshots.Count);
        foreach (SnapshotInfo snapshot in snapshots)
        {
            int size = SnapshotEntry.TryRead(table.Span, out SnapshotEntry entry) ? Math.Min(entry.SizeBytes, table.Length) : table.Length;
            records.Add(new SnapshotRecord(snapshot, table[..size]));
            table = table[size..];
        }

        return records;
    }
}
