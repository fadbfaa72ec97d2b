using System.Buffers.Binary;
using System.Globalization;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>What the disk and its snapshots read, and the tables that map them: pieces of the file.</summary>
internal sealed class GuestContent
{
    private readonly List<ReadOnlyMemory<byte>> _pieces = [];

    private GuestContent()
    {
    }

    public static GuestContent Of(byte[] content, Qcow2Image image)
    {
        var guest = new GuestContent();
        guest.AddTree(content, image, image.Header.L1TableOffset, image.Header.L1Size);
        if (image.Header.SnapshotCount > 0)
        {
            ReadOnlySpan<byte> table = guest.Add(content, image.Header.SnapshotsOffset, image.Handle.Contents.Snapshots.LengthBytes);
            foreach (int entry in SnapshotEntries(table, image.Header.SnapshotCount))
            {
                guest.AddTree(
                    content, image, BinaryPrimitives.ReadUInt64BigEndian(table[entry..]),
                    BinaryPrimitives.ReadUInt32BigEndian(table[(entry + 8)..]));
            }
        }

        return guest;
    }

    public bool IsSameAs(GuestContent other)
    {
        if (_pieces.Count != other._pieces.Count)
        {
            return false;
        }

        for (int i = 0; i < _pieces.Count; i++)
        {
            if (!_pieces[i].Span.SequenceEqual(other._pieces[i].Span))
            {
                return false;
            }
        }

        return true;
    }

    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"{_pieces.Count} pieces, {_pieces.Sum(static p => (long)p.Length)} bytes");

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

    private void AddTree(byte[] content, Qcow2Image image, ulong l1Offset, uint l1Entries)
    {
        int cluster = image.ClusterSizeBytes;
        ReadOnlySpan<byte> l1 = Add(content, l1Offset, l1Entries * sizeof(ulong));
        for (; l1.Length > 0; l1 = l1[sizeof(ulong)..])
        {
            var l1Entry = new L1Entry(BinaryPrimitives.ReadUInt64BigEndian(l1));
            if (!l1Entry.IsAllocated)
            {
                continue;
            }

            ReadOnlySpan<byte> l2 = Add(content, l1Entry.L2TableOffset, cluster);
            for (; l2.Length > 0; l2 = l2[image.Geometry.L2EntryBytes..])
            {
                var entry = new L2Entry(BinaryPrimitives.ReadUInt64BigEndian(l2));
                if (entry.IsCompressed)
                {
                    CompressedDescriptor compressed = entry.Compressed(image.Geometry.ClusterBits);
                    Add(content, compressed.HostOffset, compressed.LengthBytes);
                }
                else if (entry.HostOffset != 0 && !image.Header.HasExternalDataFile)
                {
                    Add(content, entry.HostOffset, cluster);
                }
            }
        }
    }

    /// <summary>Adds what the file has of a range.</summary>
    private ReadOnlySpan<byte> Add(byte[] content, ulong offset, long length)
    {
        ReadOnlyMemory<byte> piece = offset >= (ulong)content.Length
            ? default
            : content.AsMemory((int)offset, (int)Math.Min(length, content.Length - (int)offset));
        _pieces.Add(piece);
        return piece.Span;
    }
}
