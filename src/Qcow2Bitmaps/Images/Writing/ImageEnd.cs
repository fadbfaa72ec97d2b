using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Where the last cluster ends that is counted: QEMU's image end offset.</summary>
internal static class ImageEnd
{
    private const int PieceBytes = 1 << 16;

    /// <summary>Whether the counts can be relied on and the file has all clusters that are counted, the last one perhaps in part.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<bool> IsInsideFileAsync(ImageHandle image, CancellationToken cancellationToken)
    {
        ImageGeometry geometry = image.Geometry;
        if (image.Header.IncompatibleFeatures.HasFlag(IncompatibleFeatures.Dirty))
        {
            return false;
        }

        Qcow2Header header = image.Header;
        ulong length = (ulong)image.Storage.Length;
        long entries = (long)header.RefcountTableClusters << (geometry.ClusterBits - 3);
        if (entries * ImageGeometry.TableEntryBytes > image.Limits.MaxRefcountTableBytes)
        {
            // Only a lenient reader has such an image open.
            return false;
        }

        ulong[] table = await BigEndianTable
            .ReadAsync(image.Storage, header.RefcountTableOffset, entries, cancellationToken).ConfigureAwait(false);
        if (table.Length != entries || !Array.TrueForAll(table, raw => new RefcountTableEntry(raw).BlockOffset < length))
        {
            return false;
        }

        long end = await FindAsync(image, cancellationToken).ConfigureAwait(false);
        return end <= geometry.ClustersFor((long)length) << geometry.ClusterBits;
    }

    /// <summary>Finds it, from the counts alone, from the end.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<long> FindAsync(ImageHandle image, CancellationToken cancellationToken)
    {
        ImageGeometry geometry = image.Geometry;
        byte[] block = new byte[geometry.ClusterSizeBytes];
        byte[] piece = new byte[PieceBytes];
        long tableBytes = (long)image.Header.RefcountTableClusters << geometry.ClusterBits;
        for (long start = (tableBytes - 1) / PieceBytes * PieceBytes; start >= 0; start -= PieceBytes)
        {
            int length = (int)Math.Min(PieceBytes, tableBytes - start);
            long offset = (long)image.Header.RefcountTableOffset + start;
            await image.Storage.ReadZeroFilledAsync(offset, piece.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
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
