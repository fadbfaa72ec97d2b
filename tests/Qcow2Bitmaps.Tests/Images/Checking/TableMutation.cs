using System.Buffers.Binary;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Checking;

/// <summary>Breaks one or two entries of an image's L1, L2 and refcount tables, the same ones for the same seed.</summary>
internal sealed class TableMutation(byte[] image, int seed)
{
    private readonly SplitMix _random = new((ulong)seed * 7919);
    private readonly Qcow2Header _header = CheckedHeader.Read(image);

    public byte[] Apply()
    {
        int cluster = 1 << (int)_header.ClusterBits;
        int[] l2Tables = [.. Tables((int)_header.L1TableOffset, (int)_header.L1Size)];
        int[] blocks = [.. Tables((int)_header.RefcountTableOffset, cluster / 8)];
        for (int count = 1 + Next(2); count > 0; count--)
        {
            int offset = Next(8) switch
            {
                0 => (int)_header.L1TableOffset + (8 * Next((int)_header.L1Size)),
                1 or 2 or 3 or 4 when l2Tables.Length > 0 => EntryOf(l2Tables[Next(l2Tables.Length)], cluster),
                5 => (int)_header.RefcountTableOffset + (8 * Next(4)),
                _ => blocks[Next(blocks.Length)] + (8 * Next(16)),
            };
            Span<byte> entry = image.AsSpan(offset);
            BinaryPrimitives.WriteUInt64BigEndian(entry, Change(BinaryPrimitives.ReadUInt64BigEndian(entry), (ulong)cluster));
        }

        return image;
    }

    private ulong Change(ulong entry, ulong cluster) => Next(9) switch
    {
        0 => entry ^ (1UL << 63),
        1 => entry ^ (1UL << 62),
        2 => entry ^ 1,
        3 => 0,
        4 => unchecked(entry + cluster),
        5 => (entry & ~0x00fffffffffffe00UL) | (cluster * (ulong)Next((image.Length / (int)cluster) + 2)),
        6 => entry ^ 512,
        7 => entry | (1UL << 40),
        _ => entry ^ (1UL << Next(64)),
    };

    private IEnumerable<int> Tables(int offset, int entries) => Enumerable.Range(0, entries)
        .Select(i => (int)(BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan(offset + (8 * i))) & 0x00fffffffffffe00))
        .Where(static table => table != 0);

    /// <summary>Mostly an entry that is used.</summary>
    private int EntryOf(int table, int cluster)
    {
        int[] used = [.. Enumerable.Range(0, cluster / 8)
            .Select(i => table + (8 * i))
            .Where(at => BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan(at)) != 0)];
        return used.Length > 0 && Next(5) > 0 ? used[Next(used.Length)] : table + (8 * Next(cluster / 8));
    }

    private int Next(int end) => _random.Below(end);
}
