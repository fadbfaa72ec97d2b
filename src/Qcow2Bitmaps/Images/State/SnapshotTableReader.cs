using System.Globalization;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.State;

/// <summary>Reads the table of internal snapshots.</summary>
internal static class SnapshotTableReader
{
    /// <summary>Reads the table.</summary>
    /// <param name="storage">The image.</param>
    /// <param name="header">Its header, checked.</param>
    /// <param name="limits">The limits to apply.</param>
    /// <param name="log">Receives the faults.</param>
    /// <param name="zeroFilled">Whether everything past the end of the file reads as zeros; otherwise it is a fault.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public static async ValueTask<SnapshotTable> ReadAsync(
        ImageStorage storage, Qcow2Header header, Qcow2Limits limits, FaultLog log, bool zeroFilled, CancellationToken cancellationToken)
    {
        var snapshots = new List<SnapshotInfo>();
        long start = (long)Math.Min(header.SnapshotsOffset, Faults.MaxOffset);
        long offset = start;
        var buffer = new byte[SnapshotEntry.FixedBytes];
        for (uint i = 0; i < header.SnapshotCount && snapshots.Count < limits.MaxSnapshots; i++)
        {
            if (zeroFilled && offset >= storage.Length && snapshots.Count > 0 && snapshots[^1].IsNothing)
            {
                // Only zeros follow: the previous entry was the same.
                snapshots.Add(snapshots[^1]);
                offset += SnapshotEntry.FixedBytes;
                continue;
            }

            string structure = string.Create(CultureInfo.InvariantCulture, $"snapshot table entry {i}");
            if (await storage.ReadZeroFilledAsync(
                offset, buffer.AsMemory(0, SnapshotEntry.FixedBytes), cancellationToken).ConfigureAwait(false) < SnapshotEntry.FixedBytes
                && !zeroFilled)
            {
                ReportTruncated(log, structure, offset);
                break;
            }

            long extra = SnapshotEntry.ExtraDataBytes(buffer);
            if (extra > limits.MaxSnapshotExtraDataBytes)
            {
                log.Report(
                    Faults.Of(
                        FaultCode.SnapshotExtraData, structure, "extra_data_size", (ulong)offset, extra,
                        $"at most {limits.MaxSnapshotExtraDataBytes} bytes"));
                break;
            }

            int length = (int)SnapshotEntry.UnpaddedBytes(buffer);
            if (buffer.Length < length)
            {
                buffer = new byte[Math.Max(length, 2 * buffer.Length)];
            }

            if (await storage.ReadZeroFilledAsync(offset, buffer.AsMemory(0, length), cancellationToken).ConfigureAwait(false) < length
                && !zeroFilled)
            {
                ReportTruncated(log, structure, offset);
                break;
            }

            snapshots.Add(Decode(buffer.AsSpan(0, length), structure, (ulong)offset, header, limits, log));
            offset += SnapshotEntry.PaddedBytes(length);
            if (offset - start > limits.MaxSnapshotTableBytes)
            {
                log.Report(
                    Faults.Of(
                        FaultCode.SnapshotTableSize, "snapshot table", "size", (ulong)start, offset - start,
                        $"at most {limits.MaxSnapshotTableBytes} bytes"));
                break;
            }
        }

        return new SnapshotTable(snapshots, offset - start);
    }

    private static void ReportTruncated(FaultLog log, string structure, long offset) => log.Report(new FormatFault(
        FaultCode.SnapshotTableTruncated, structure, "entry", (ulong)offset, "cut off by the file's end", "a whole entry"));

    private static SnapshotInfo Decode(
        ReadOnlySpan<byte> bytes, string structure, ulong offset, Qcow2Header header, Qcow2Limits limits, FaultLog log)
    {
        // The length was taken from these very bytes.
        _ = SnapshotEntry.TryRead(bytes, out SnapshotEntry entry);
        if (header.Version >= 3 && entry.ExtraData.Length < SnapshotEntry.MinVersion3ExtraDataBytes)
        {
            log.Note(
                Faults.Of(
                    FaultCode.SnapshotExtraData, structure, "extra_data_size", offset, entry.ExtraData.Length,
                    $"at least {SnapshotEntry.MinVersion3ExtraDataBytes} bytes in version 3"));
        }

        if (Faults.CheckTable(
                FaultCode.SnapshotL1Table, structure, ("L1 table", offset), new StoredTable(entry.L1TableOffset, entry.L1Size),
                (ulong)limits.MaxL1TableBytes, (int)header.ClusterBits) is { } l1)
        {
            // QEMU refuses this only when the snapshot is used.
            log.Note(l1);
        }

        return SnapshotInfo.Of(entry);
    }
}
