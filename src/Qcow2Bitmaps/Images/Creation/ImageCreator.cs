using System.Buffers.Binary;
using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Creation;

/// <summary>Writes a new image to a storage: the header last, so that an incomplete file is not an image.</summary>
/// <param name="plan">The image.</param>
/// <param name="storage">Where it goes.</param>
/// <param name="showsDataFile">Whether the data file has existing content that the disk must show.</param>
/// <remarks>
/// Memory: the L1 table (at most 32 MiB) and the refcount table (at most 8 MiB), where they are not empty, and two clusters.
/// </remarks>
internal sealed class ImageCreator(CreationPlan plan, ImageStorage storage, bool showsDataFile = false)
{
    private readonly ImageGeometry _geometry = plan.Geometry;
    private readonly byte[] _l2 = new byte[plan.Geometry.ClusterSizeBytes];
    private byte[] _l1 = [];

    /// <summary>Writes the image.</summary>
    /// <param name="areDataZeros">Whether the data file, if any, reads as zeros, or is to be read as it is.</param>
    /// <param name="cancellationToken">Ends the writing; there is no image then.</param>
    public async ValueTask WriteAsync(bool areDataZeros, CancellationToken cancellationToken)
    {
        if (plan.Options.DataFile is null)
        {
            ReservedSpace.RequireFile(storage, plan.Options.Preallocation);
        }

        ReservedSpace.RequireRoom(storage, plan.Layout.LengthBytes);
        bool isFresh = storage.CapacityBytes is null;
        if (isFresh)
        {
            await storage.SetLengthAsync(0, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            // The previous content must no longer be recognised as an image.
            await ReservedSpace.WriteZerosAsync(storage, 0, plan.FirstCluster.Length, cancellationToken).ConfigureAwait(false);
            await storage.FlushAsync(cancellationToken).ConfigureAwait(false);
        }

        ClusterAllocation allocation = plan.Layout.NewAllocation();
        await WriteTablesAsync(allocation, plan.Options.DataFile is null ? isFresh : areDataZeros, cancellationToken).ConfigureAwait(false);
        await WriteRefcountsAsync(allocation, cancellationToken).ConfigureAwait(false);
        if (isFresh)
        {
            await storage.SetLengthAsync(plan.Layout.LengthBytes, cancellationToken).ConfigureAwait(false);
            if (plan.Options is { Preallocation: Preallocation.Falloc, DataFile: null })
            {
                await ReservedSpace.TakeAsync(
                    storage, plan.FirstCluster.Length, plan.Layout.LengthBytes - plan.FirstCluster.Length, Preallocation.Falloc,
                    cancellationToken).ConfigureAwait(false);
            }
        }

        await storage.FlushAsync(cancellationToken).ConfigureAwait(false);
        await storage.WriteAsync(0, plan.FirstCluster, cancellationToken).ConfigureAwait(false);
        await storage.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask WriteTablesAsync(ClusterAllocation allocation, bool areDataZeros, CancellationToken cancellationToken)
    {
        long l1Bytes = _geometry.L1EntriesNeeded * ImageGeometry.TableEntryBytes;
        long l1Offset = OffsetOf(plan.Layout.L1FirstCluster);
        _l1 = plan.Options.AllocatesMetadata ? new byte[l1Bytes] : [];
        long l2Cluster = 0;
        foreach (ClusterRun run in plan.Layout.Walk(allocation))
        {
            switch (run.Use)
            {
                case ClusterUse.L2Table:
                    await FinishL2Async(l2Cluster, cancellationToken).ConfigureAwait(false);
                    StartL2(run);
                    l2Cluster = run.First;
                    if (plan.Options.DataFile is not null)
                    {
                        // In a data file, a cluster has the same number as on the disk.
                        long rest = _geometry.ClustersFor(_geometry.VirtualSizeBytes) - run.FirstGuestCluster;
                        Map(
                            new ClusterRun(
                                ClusterUse.Data, run.FirstGuestCluster, Math.Min(rest, _geometry.L2EntriesPerTable), run.FirstGuestCluster),
                            areDataZeros);
                    }

                    break;
                case ClusterUse.Data:
                    Map(run, areDataZeros);
                    if (plan.Options.Preallocation == Preallocation.Full || (!areDataZeros && plan.Options.Version == 2))
                    {
                        // Version 2 entries have no zero flag.
                        await ReservedSpace.WriteZerosAsync(
                            storage, OffsetOf(run.First), run.Count << _geometry.ClusterBits, cancellationToken).ConfigureAwait(false);
                    }

                    break;
                default:
                    break;
            }
        }

        await FinishL2Async(l2Cluster, cancellationToken).ConfigureAwait(false);
        if (_l1.Length > 0)
        {
            await storage.WriteAsync(l1Offset, _l1, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            await ReservedSpace.WriteZerosAsync(storage, l1Offset, l1Bytes, cancellationToken).ConfigureAwait(false);
        }
    }

    private void StartL2(ClusterRun run)
    {
        _l2.AsSpan().Clear();
        int index = (int)(run.FirstGuestCluster / _geometry.L2EntriesPerTable);
        BinaryPrimitives.WriteUInt64BigEndian(
            _l1.AsSpan(index * ImageGeometry.TableEntryBytes), L1Entry.Create((ulong)OffsetOf(run.First), isCopied: true).Raw);
    }

    /// <summary>
    /// Adds clusters to the L2 table. Extended entries mark no subcluster as allocated or zero, so that these read as zeros or from the
    /// backing file, unless a data file is to be shown.
    /// </summary>
    private void Map(ClusterRun run, bool areDataZeros)
    {
        bool isZero = !areDataZeros && plan.Options.Version >= 3 && !_geometry.HasExtendedL2;
        int index = (int)(run.FirstGuestCluster % _geometry.L2EntriesPerTable);
        for (int i = 0; i < run.Count; i++)
        {
            L2Entry entry = L2Entry.Create((ulong)OffsetOf(run.First + i), isCopied: true, isZero);
            Span<byte> bytes = _l2.AsSpan((index + i) * _geometry.L2EntryBytes);
            BinaryPrimitives.WriteUInt64BigEndian(bytes, entry.Raw);
            if (showsDataFile && _geometry.HasExtendedL2)
            {
                BinaryPrimitives.WriteUInt64BigEndian(bytes[sizeof(ulong)..], new SubclusterBitmap(uint.MaxValue, 0).Raw);
            }
        }
    }

    private async ValueTask FinishL2Async(long cluster, CancellationToken cancellationToken)
    {
        if (cluster != 0)
        {
            await storage.WriteAsync(OffsetOf(cluster), _l2, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask WriteRefcountsAsync(ClusterAllocation allocation, CancellationToken cancellationToken)
    {
        var table = new byte[plan.Layout.RefcountTableClusters << _geometry.ClusterBits];
        var block = new byte[_geometry.ClusterSizeBytes];
        long filled = 0;
        for (int i = 0; i < allocation.Blocks.Count; i++)
        {
            long offset = OffsetOf(allocation.Blocks[i]);
            BinaryPrimitives.WriteUInt64BigEndian(table.AsSpan(i * ImageGeometry.TableEntryBytes), (ulong)offset);
            long used = Math.Clamp(allocation.End - ((long)i * _geometry.RefcountsPerBlock), 0, _geometry.RefcountsPerBlock);
            if (used != filled)
            {
                FillWithOnes(block, (int)used);
                filled = used;
            }

            await storage.WriteAsync(offset, block, cancellationToken).ConfigureAwait(false);
        }

        await storage.WriteAsync(_geometry.ClusterSizeBytes, table, cancellationToken).ConfigureAwait(false);
    }

    private void FillWithOnes(byte[] block, int count)
    {
        block.AsSpan().Clear();
        for (int i = 0; i < count; i++)
        {
            RefcountBlock.Write(block, i, _geometry.RefcountOrder, 1);
        }
    }

    private long OffsetOf(long cluster) => cluster << _geometry.ClusterBits;
}
