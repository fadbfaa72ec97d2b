using System.Buffers.Binary;
using CommunityToolkit.HighPerformance.Buffers;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>
/// Completes the entries of a snapshot table that lack what version 3 requires: writes a new table and switches to it with one write.
/// </summary>
/// <remarks>An entry without a disk size gets the disk's present one, as in QEMU.</remarks>
internal static class SnapshotTableRepair
{
    /// <summary>Repairs.</summary>
    /// <param name="storage">The image.</param>
    /// <param name="contents">The image's current contents. The file contains all of the table.</param>
    /// <param name="limits">The limits to apply.</param>
    /// <param name="cancellationToken">Ends the preparation.</param>
    /// <exception cref="NoSpaceException">A storage that cannot grow has no room.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask RunAsync(
        ImageStorage storage, ImageContents contents, Qcow2Limits limits, CancellationToken cancellationToken)
    {
        Qcow2Header header = contents.First.Header;
        var old = new byte[contents.Snapshots.LengthBytes];
        await storage.ReadZeroFilledAsync((long)header.SnapshotsOffset, old, cancellationToken).ConfigureAwait(false);
        byte[] table = Complete(old, header);
        MetadataWriter writer = await MetadataWriter.BeginAsync(storage, contents, limits, cancellationToken).ConfigureAwait(false);
        MetadataTransaction transaction = await MetadataTransaction.PrepareAsync(
            storage,
            async () =>
            {
                HostOffset offset = await writer.AllocateAsync(table.Length, cancellationToken).ConfigureAwait(false);
                await writer.WriteAsync(offset, table, cancellationToken).ConfigureAwait(false);
                writer.FreeLive(header.SnapshotsOffset, old.Length);
                await writer.PrepareAsync(cancellationToken).ConfigureAwait(false);
                return await new HeaderChange().SetSnapshots(offset.Raw, header.SnapshotCount).PlanAsync(
                    storage, header, cancellationToken).ConfigureAwait(false);
            },
            () => writer.RollBackAsync(CancellationToken.None)).ConfigureAwait(false);
        await transaction.SwitchOrRollBackAsync().ConfigureAwait(false);
        _ = await Leftovers.TidyAsync(
            $"'{storage.Name}': the snapshot table is repaired, but clusters of the old one stay counted",
            () => writer.ReleaseAsync(live => live.AddBitmapsOf(contents), CancellationToken.None)).ConfigureAwait(false);
    }

    private static byte[] Complete(ReadOnlySpan<byte> old, Qcow2Header header)
    {
        using var table = new ArrayPoolBufferWriter<byte>();
        for (uint i = 0; i < header.SnapshotCount && SnapshotEntry.TryRead(old, out SnapshotEntry entry); i++)
        {
            old = old[Math.Min(old.Length, entry.SizeBytes)..];
            if (entry.ExtraData.Length < SnapshotEntry.MinVersion3ExtraDataBytes)
            {
                var extra = new byte[SnapshotEntry.MinVersion3ExtraDataBytes];
                BinaryPrimitives.WriteUInt64BigEndian(extra, entry.VmStateSizeBytes);
                BinaryPrimitives.WriteUInt64BigEndian(extra.AsSpan(sizeof(ulong)), header.VirtualSize);
                entry = entry with { ExtraData = extra };
            }

            table.Advance(entry.Write(table.GetSpan(entry.SizeBytes)));
        }

        return table.WrittenSpan.ToArray();
    }
}
