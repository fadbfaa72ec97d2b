using System.Buffers.Binary;
using System.Security.Cryptography;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Hashes what the disk and its snapshots read, by the tables that map them.</summary>
internal static class GuestHash
{
    public static string Of(byte[] content, Qcow2Image image)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        AddTree(hash, content, image, image.Header.L1TableOffset, image.Header.L1Size);
        foreach (SnapshotInfo snapshot in image.Snapshots)
        {
            hash.AppendData(System.Text.Encoding.UTF8.GetBytes(snapshot.ToString()));
        }

        if (image.Header.SnapshotCount > 0)
        {
            Span<byte> table = Slice(content, image.Header.SnapshotsOffset, image.SnapshotTableBytes);
            hash.AppendData(table);
            foreach (int entry in SnapshotEntries(table, image.Header.SnapshotCount))
            {
                AddTree(hash, content, image, BinaryPrimitives.ReadUInt64BigEndian(table[entry..]), BinaryPrimitives.ReadUInt32BigEndian(table[(entry + 8)..]));
            }
        }

        return Convert.ToHexString(hash.GetHashAndReset());
    }

    private static List<int> SnapshotEntries(ReadOnlySpan<byte> table, uint count)
    {
        var entries = new List<int>();
        for (int at = 0; entries.Count < count;)
        {
            entries.Add(at);
            int names = BinaryPrimitives.ReadUInt16BigEndian(table[(at + 12)..]) + BinaryPrimitives.ReadUInt16BigEndian(table[(at + 14)..]);
            at += (40 + (int)BinaryPrimitives.ReadUInt32BigEndian(table[(at + 36)..]) + names + 7) & ~7;
        }

        return entries;
    }

    private static void AddTree(IncrementalHash hash, byte[] content, Qcow2Image image, ulong l1Offset, uint l1Entries)
    {
        int cluster = image.ClusterSizeBytes;
        Span<byte> l1 = Slice(content, l1Offset, l1Entries * sizeof(ulong));
        hash.AppendData(l1);
        for (; l1.Length > 0; l1 = l1[sizeof(ulong)..])
        {
            var l1Entry = new L1Entry(BinaryPrimitives.ReadUInt64BigEndian(l1));
            if (!l1Entry.IsAllocated)
            {
                continue;
            }

            Span<byte> l2 = Slice(content, l1Entry.L2TableOffset, cluster);
            hash.AppendData(l2);
            for (; l2.Length > 0; l2 = l2[image.Geometry.L2EntryBytes..])
            {
                var entry = new L2Entry(BinaryPrimitives.ReadUInt64BigEndian(l2));
                if (entry.IsCompressed)
                {
                    CompressedDescriptor compressed = entry.Compressed(image.Geometry.ClusterBits);
                    hash.AppendData(Slice(content, compressed.HostOffset, compressed.LengthBytes));
                }
                else if (entry.HostOffset != 0 && !image.Header.HasExternalDataFile)
                {
                    hash.AppendData(Slice(content, entry.HostOffset, cluster));
                }
            }
        }
    }

    /// <summary>What the file has of a range.</summary>
    private static Span<byte> Slice(byte[] content, ulong offset, long length) => offset >= (ulong)content.Length
        ? []
        : content.AsSpan((int)offset, (int)Math.Min(length, content.Length - (int)offset));
}
