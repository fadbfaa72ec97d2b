using System.Buffers.Binary;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Benchmarks.SideBySide;

/// <summary>
/// Writes a sparse image whose every cluster is allocated and none follows the one before: what <c>check</c> is measured with.
/// </summary>
/// <remarks>
/// Clusters of 64 KiB, counts of 16 bits, all right. Metadata come first: header, refcount table, refcount blocks, L1 table, L2
/// tables; the clusters of data are a hole. They are shuffled in windows of 2 GiB, what one refcount block covers, so that a
/// reader who keeps few blocks has them at hand.
/// </remarks>
internal static class FragmentedImage
{
    private const int ClusterBits = 16;
    private const int ClusterBytes = 1 << ClusterBits;
    private const int WindowClusters = 1 << 15;
    // Odd: multiplying by it modulo a power of two visits every number once.
    private const int Stride = 12_345;

    public static void Write(string path, long virtualSizeBytes)
    {
        var geometry = new ImageGeometry(ClusterBits, virtualSizeBytes, refcountOrder: 4, hasExtendedL2: false);
        long dataClusters = virtualSizeBytes / ClusterBytes / WindowClusters * WindowClusters;
        long l1Clusters = geometry.ClustersFor(geometry.L1EntriesNeeded * ImageGeometry.TableEntryBytes);
        // Blocks count themselves and the table; a few too many do no harm.
        long blocks = ((dataClusters + geometry.L1EntriesNeeded + l1Clusters) / geometry.RefcountsPerBlock) + 2;
        long tableClusters = geometry.ClustersFor(blocks * ImageGeometry.TableEntryBytes);
        long firstBlock = 1 + tableClusters;
        long firstL1 = firstBlock + blocks;
        long firstL2 = firstL1 + l1Clusters;
        long firstData = firstL2 + geometry.L1EntriesNeeded;
        long clusters = firstData + dataClusters;

        using FileStream file = File.Create(path);
        file.SetLength(clusters * ClusterBytes);
        var header = new byte[ClusterBytes];
        new Qcow2Header
        {
            ClusterBits = ClusterBits,
            VirtualSize = (ulong)virtualSizeBytes,
            RefcountTableOffset = ClusterBytes,
            RefcountTableClusters = (uint)tableClusters,
            L1TableOffset = (ulong)(firstL1 * ClusterBytes),
            L1Size = (uint)geometry.L1EntriesNeeded,
            TrailingBytes = new byte[7],
        }.Write(header);
        file.Write(header);
        WriteTable(file, 1, blocks, i => (ulong)((firstBlock + i) * ClusterBytes));
        WriteTable(file, firstL1, geometry.L1EntriesNeeded, i => L1Entry.Create((ulong)((firstL2 + i) * ClusterBytes), isCopied: true).Raw);
        WriteTable(file, firstL2, dataClusters, i => L2Entry.Create((ulong)((firstData + Shuffled(i)) * ClusterBytes), isCopied: true).Raw);

        var counts = new byte[ClusterBytes];
        file.Position = firstBlock * ClusterBytes;
        for (long block = 0; block < blocks; block++)
        {
            for (int i = 0; i < geometry.RefcountsPerBlock; i++)
            {
                RefcountBlock.Write(counts, i, geometry.RefcountOrder, (block * geometry.RefcountsPerBlock) + i < clusters ? 1UL : 0);
            }

            file.Write(counts);
        }
    }

    private static long Shuffled(long cluster) =>
        (cluster & ~(WindowClusters - 1L)) + (((cluster & (WindowClusters - 1)) * Stride) & (WindowClusters - 1));

    private static void WriteTable(FileStream file, long firstCluster, long entries, Func<long, ulong> entry)
    {
        file.Position = firstCluster * ClusterBytes;
        var bytes = new byte[ClusterBytes];
        for (long i = 0; i < entries; i++)
        {
            int at = (int)(i * ImageGeometry.TableEntryBytes % ClusterBytes);
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(at), entry(i));
            if (at == ClusterBytes - ImageGeometry.TableEntryBytes || i == entries - 1)
            {
                file.Write(bytes, 0, at + ImageGeometry.TableEntryBytes);
            }
        }
    }
}
