using System.Buffers.Binary;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Changes what the bitmaps extension says at the moment when the header's first sector is written, wherever the extension lies.</summary>
/// <remarks>
/// Where its data reach behind the first sector, the extensions from the last one that starts in the first sector on are copied behind all that there is, with the new data. The
/// switch then turns the original of the first of them into an extension of unknown type that reaches up to the copy. Afterwards the original is brought up to date, and the
/// step is taken back: the first cluster looks as it did. Pure.
/// </remarks>
internal static class ExtensionMove
{
    private const int SectorBytes = RefcountBlockEdit.SectorBytes;

    /// <summary>Plans the change.</summary>
    /// <param name="imageName">The image's name, for messages.</param>
    /// <param name="header">The header.</param>
    /// <param name="cluster">The first cluster as it is.</param>
    /// <param name="extension">What the extension is to say. There is one.</param>
    /// <returns>The first cluster as it is to be: before the switch, with the switch, with the original up to date, and at the end.</returns>
    /// <exception cref="Qcow2UnsupportedException">The first cluster has no room for the copy.</exception>
    public static IReadOnlyList<byte[]> Plan(string imageName, Qcow2Header header, byte[] cluster, BitmapsExtension extension)
    {
        var starts = new List<int>();
        int data = -1;
        var walk = new HeaderExtensionEnumerator(cluster, header.HeaderLength, header.ExtensionAreaEnd);
        while (walk.MoveNext())
        {
            starts.Add(walk.Current.DataOffset - HeaderExtension.HeaderBytes);
            data = walk.Current.Type == HeaderExtensionType.Bitmaps ? walk.Current.DataOffset : data;
        }

        if (data + BitmapsExtension.SizeBytes <= SectorBytes)
        {
            byte[] changed = [.. cluster];
            extension.Write(changed.AsSpan(data));
            return [cluster, changed];
        }

        int end = walk.HasEndMarker ? walk.Position - HeaderExtension.HeaderBytes : walk.Position;
        int jump = starts.FindLast(static start => start < SectorBytes);
        int nameStart = (int)header.BackingFileOffset;
        int nameLength = nameStart == 0 ? 0 : (int)header.BackingFileSize;
        int copy = (Math.Max(end + HeaderExtension.HeaderBytes, nameStart + nameLength) + 7) & ~7;
        int copyEnd = copy + (end - jump) + HeaderExtension.HeaderBytes;
        if (jump == 0 || (jump & 7) != 0 || copyEnd + nameLength > cluster.Length)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.NoRoomInHeader, $"'{imageName}': No space left in the file header: the first cluster of {cluster.Length} bytes has no room for a copy of its extensions");
        }

        byte[] before = [.. cluster];
        before.AsSpan(jump, end - jump).CopyTo(before.AsSpan(copy));
        before.AsSpan(copyEnd - HeaderExtension.HeaderBytes, HeaderExtension.HeaderBytes).Clear();
        before.AsSpan(nameStart, nameLength).CopyTo(before.AsSpan(copyEnd));
        extension.Write(before.AsSpan(data - jump + copy));

        byte[] switched = [.. before];
        BinaryPrimitives.WriteUInt32BigEndian(switched.AsSpan(jump), (uint)HeaderSwitch.Filler);
        BinaryPrimitives.WriteUInt32BigEndian(switched.AsSpan(jump + sizeof(uint)), (uint)(copy - jump - HeaderExtension.HeaderBytes));
        if (nameStart != 0)
        {
            BinaryPrimitives.WriteUInt64BigEndian(switched.AsSpan(HeaderLayout.BackingFileOffset), (ulong)copyEnd);
        }

        byte[] mended = [.. switched];
        extension.Write(mended.AsSpan(data));
        byte[] final = [.. cluster];
        extension.Write(final.AsSpan(data));
        byte[] back = [.. mended];
        final.AsSpan(0, SectorBytes).CopyTo(back);
        return [before, switched, mended, back, final];
    }
}
