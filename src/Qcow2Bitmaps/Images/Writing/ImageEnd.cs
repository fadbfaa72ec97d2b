using System.Buffers.Binary;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Where the last cluster ends that is counted: QEMU's image end offset.</summary>
internal static class ImageEnd
{
    private const int PieceBytes = 1 << 16;

    /// <summary>Whether the file has all clusters that are counted, the last one perhaps in part, and the counts can be relied on.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<bool> IsInsideFileAsync(Qcow2Image image, CancellationToken cancellationToken)
    {
        ImageGeometry geometry = image.Geometry;
        if (image.Header.IncompatibleFeatures.HasFlag(IncompatibleFeatures.Dirty))
        {
            return false;
        }

        ulong length = (ulong)image.Storage.Length;
        long entries = (long)image.Header.RefcountTableClusters << (geometry.ClusterBits - 3);
        ulong[] table = await BigEndianTable.ReadAsync(image.Storage, image.Header.RefcountTableOffset, entries, cancellationToken).ConfigureAwait(false);
        return table.Length == entries
            && Array.TrueForAll(table, raw => new RefcountTableEntry(raw).BlockOffset < length)
            && await FindAsync(image, cancellationToken).ConfigureAwait(false) <= geometry.ClustersFor((long)length) << geometry.ClusterBits;
    }

    /// <summary>Finds it, from the counts alone, from the end.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<long> FindAsync(Qcow2Image image, CancellationToken cancellationToken)
    {
        ImageGeometry geometry = image.Geometry;
        byte[] block = new byte[geometry.ClusterSizeBytes];
        byte[] piece = new byte[PieceBytes];
        long tableBytes = (long)image.Header.RefcountTableClusters << geometry.ClusterBits;
        for (long start = (tableBytes - 1) / PieceBytes * PieceBytes; start >= 0; start -= PieceBytes)
        {
            int length = (int)Math.Min(PieceBytes, tableBytes - start);
            await image.Storage.ReadZeroFilledAsync((long)image.Header.RefcountTableOffset + start, piece.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
            for (int i = length - sizeof(ulong); i >= 0; i -= sizeof(ulong))
            {
                ulong entry = BinaryPrimitives.ReadUInt64BigEndian(piece.AsSpan(i));
                if (entry is 0 or > long.MaxValue)
                {
                    continue;
                }

                await image.Storage.ReadZeroFilledAsync((long)entry, block, cancellationToken).ConfigureAwait(false);
                for (int count = (int)geometry.RefcountsPerBlock - 1; count >= 0; count--)
                {
                    if (RefcountBlock.Read(block, count, geometry.RefcountOrder) != 0)
                    {
                        return (((start + i) / sizeof(ulong) * geometry.RefcountsPerBlock) + count + 1) << geometry.ClusterBits;
                    }
                }
            }
        }

        return 0;
    }
}
