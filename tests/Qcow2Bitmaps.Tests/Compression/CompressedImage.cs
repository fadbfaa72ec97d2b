using System.Buffers.Binary;
using System.Globalization;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Compression;

/// <summary>Images whose clusters are all compressed: made of given bytes, or taken apart.</summary>
internal static class CompressedImage
{
    private const int SectorBytes = 512;

    /// <summary>Makes an image of compressed clusters, each in sectors of its own that are filled up with a byte.</summary>
    public static byte[] Build(CompressionType type, int clusterBits, IReadOnlyList<byte[]> clusters, byte filler = 0)
    {
        int clusterBytes = 1 << clusterBits;
        var header = new Qcow2Header
        {
            ClusterBits = (uint)clusterBits,
            VirtualSize = (ulong)clusterBytes * (ulong)clusters.Count,
            CompressionType = type,
            IncompatibleFeatures = type == CompressionType.Zlib ? IncompatibleFeatures.None : IncompatibleFeatures.CompressionType,
            RefcountTableOffset = (ulong)clusterBytes,
            RefcountTableClusters = 1,
            L1TableOffset = 3UL << clusterBits,
            L1Size = 1,
            TrailingBytes = new byte[7],
        };
        Assert.True(clusters.Count <= clusterBytes / 8, "One L2 table");
        using var file = new MemoryStream();
        file.SetLength(5L << clusterBits);
        file.Position = file.Length;
        var l2 = new byte[clusterBytes];
        for (int i = 0; i < clusters.Count; i++)
        {
            int sectors = Math.Max(1, (clusters[i].Length + SectorBytes - 1) / SectorBytes);
            var descriptor = new CompressedDescriptor((ulong)file.Position, sectors - 1);
            BinaryPrimitives.WriteUInt64BigEndian(l2.AsSpan(8 * i), L2Entry.CreateCompressed(descriptor, clusterBits).Raw);
            file.Write(clusters[i]);
            file.Write([.. Enumerable.Repeat(filler, (sectors * SectorBytes) - clusters[i].Length)]);
        }

        file.SetLength((file.Length + clusterBytes - 1) / clusterBytes * clusterBytes);
        byte[] bytes = file.ToArray();
        header.Write(bytes);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(1 << clusterBits), 2UL << clusterBits);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(3 << clusterBits), L1Entry.Create(4UL << clusterBits, isCopied: true).Raw);
        l2.CopyTo(bytes.AsSpan(4 << clusterBits));
        return bytes;
    }

    /// <summary>The compressed clusters of an image: guest offsets, and what their descriptors cover.</summary>
    public static IEnumerable<(long GuestOffset, byte[] Compressed)> Clusters(byte[] image)
    {
        Qcow2Header header = CheckedHeader.Read(image);
        int clusterBits = (int)header.ClusterBits;
        int entryBytes = header.HasExtendedL2 ? 16 : 8;
        int entries = (1 << clusterBits) / entryBytes;
        for (int i = 0; i < header.L1Size; i++)
        {
            ulong l2Offset = BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan((int)header.L1TableOffset + (8 * i))) & 0x00fffffffffffe00;
            for (int j = 0; l2Offset != 0 && j < entries; j++)
            {
                var entry = new L2Entry(BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan((int)l2Offset + (entryBytes * j))));
                if (entry.IsCompressed)
                {
                    CompressedDescriptor descriptor = entry.Compressed(clusterBits);
                    int start = (int)descriptor.HostOffset;
                    yield return (
                        (((long)i * entries) + j) << clusterBits, image[start..Math.Min(image.Length, start + descriptor.LengthBytes)]);
                }
            }
        }
    }

    /// <summary>Which clusters qemu-io can read.</summary>
    public static async Task<bool[]> ReadableByQemuAsync(string path, int clusterBits, int count)
    {
        string[] commands = [.. Enumerable.Range(0, count).SelectMany(i => new[]
        {
            "-c", string.Create(CultureInfo.InvariantCulture, $"read {(long)i << clusterBits} {1 << clusterBits}"),
        })];
        ProcessResult result = await Qemu.RunAsync("qemu-io", null, ["-r", "-f", "qcow2", .. commands, path]);
        // A success takes two lines, the first with offset and length; a failure one, on either stream.
        bool[] readable = [.. Enumerable.Range(0, count).Select(i => result.Output.Contains(
            string.Create(CultureInfo.InvariantCulture, $"bytes at offset {(long)i << clusterBits}\n"), StringComparison.Ordinal))];
        return readable;
    }
}
