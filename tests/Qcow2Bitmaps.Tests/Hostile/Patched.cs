using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>A valid image of <see cref="TestImage"/> whose bytes are overwritten, field by field.</summary>
internal sealed class Patched
{
    // The fields of a directory entry, from the entry's start.
    public const int TableOffset = 0;
    public const int TableSize = 8;
    public const int Flags = 12;
    public const int Type = 16;
    public const int Granularity = 17;
    public const int NameSize = 18;
    public const int ExtraDataSize = 20;

    private readonly TestImage _image;

    public Patched(TestImage image)
    {
        _image = image;
        Bytes = image.Build();
    }

    public byte[] Bytes { get; private set; }

    public int BitmapsExtension => _image.BitmapsExtensionOffset;

    public int Directory => _image.DirectoryOffset;

    public int Table => _image.Bitmaps[0].TableOffset;

    /// <summary>The image most cases start from: clusters of 4 KiB, a disk of 1 MiB, two bitmaps of 256 bits.</summary>
    public static Patched Usual() => new(new TestImage().WithBitmap("abcdefgh", bits: [0x0f, 0, 0x80]).WithBitmap("second"));

    public static Patched WithoutBitmaps(int clusterBits = 12) => new(new TestImage(clusterBits));

    public static Patched WithExtensions(params RawHeaderExtension[] extensions)
    {
        var image = new TestImage();
        image.Extensions.AddRange(extensions);
        return new Patched(image.WithBitmap("a"));
    }

    public Patched U8(int offset, byte value)
    {
        Bytes[offset] = value;
        return this;
    }

    public Patched U16(int offset, ushort value)
    {
        BinaryPrimitives.WriteUInt16BigEndian(Bytes.AsSpan(offset), value);
        return this;
    }

    public Patched U32(int offset, uint value)
    {
        BinaryPrimitives.WriteUInt32BigEndian(Bytes.AsSpan(offset), value);
        return this;
    }

    public Patched U64(int offset, ulong value)
    {
        BinaryPrimitives.WriteUInt64BigEndian(Bytes.AsSpan(offset), value);
        return this;
    }

    /// <summary>Overwrites bytes from an offset on.</summary>
    public Patched Put(int offset, ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(Bytes.AsSpan(offset));
        return this;
    }

    /// <summary>Where a field of a bitmap's directory entry stands.</summary>
    public int Entry(int field, int bitmap = 0) => Directory + _image.Bitmaps[bitmap].EntryOffsetInDirectory + field;

    /// <summary>Cuts the image, or extends it with zeros.</summary>
    public Patched Resize(int length)
    {
        byte[] bytes = Bytes;
        Array.Resize(ref bytes, length);
        Bytes = bytes;
        return this;
    }

    /// <summary>Puts a snapshot table into a new last cluster.</summary>
    public Patched WithSnapshots(params byte[][] entries)
    {
        int offset = Bytes.Length;
        byte[] table = [.. entries.SelectMany(static entry => entry)];
        return Resize(offset + Math.Max(4096, table.Length)).Put(offset, table)
            .U32(HeaderLayout.SnapshotCount, (uint)entries.Length).U64(HeaderLayout.SnapshotsOffset, (ulong)offset);
    }

    /// <summary>A valid snapshot of a disk of 1 MiB.</summary>
    public static byte[] Snapshot(string id, string name, int extraBytes = SnapshotEntry.KnownExtraDataBytes)
    {
        var entry = new SnapshotEntry
        {
            L1TableOffset = 3 << 12,
            L1Size = 1,
            Seconds = 1_700_000_000,
            ExtraData = new byte[extraBytes],
            Id = System.Text.Encoding.UTF8.GetBytes(id),
            Name = System.Text.Encoding.UTF8.GetBytes(name),
        };
        var bytes = new byte[entry.SizeBytes];
        entry.Write(bytes);
        return bytes;
    }
}
