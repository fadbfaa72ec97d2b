using System.Buffers.Binary;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Header;

/// <summary>The positions of the header extensions and the backing file name in a first cluster.</summary>
internal sealed class ExtensionArea
{
    /// <summary>An extension without meaning. It replaces a removed extension if later ones cannot move, or covers everything up to the
    /// next valid extension.</summary>
    public const HeaderExtensionType Filler = (HeaderExtensionType)0x5142464C;

    private readonly int _headerLength;

    public ExtensionArea(ReadOnlySpan<byte> cluster, Qcow2Header header)
    {
        _headerLength = (int)Math.Min(header.HeaderLength, (uint)cluster.Length);
        ulong nameStart = BinaryPrimitives.ReadUInt64BigEndian(cluster[HeaderLayout.BackingFileOffset..]);
        uint nameBytes = BinaryPrimitives.ReadUInt32BigEndian(cluster[HeaderLayout.BackingFileSize..]);
        NameStart = (int)Math.Min(nameStart, (uint)cluster.Length);
        NameEnd = NameStart == 0 ? 0 : (int)Math.Min((uint)NameStart + (ulong)nameBytes, (uint)cluster.Length);
        var walk = new HeaderExtensionEnumerator(cluster, header.HeaderLength, nameStart != 0 ? nameStart : (ulong)cluster.Length);
        while (walk.MoveNext())
        {
            Extensions.Add((walk.Current.Type, walk.Current.DataOffset, walk.Current.Data.Length));
        }

        Fault = walk.Fault;
        End = Math.Min(walk.Position, cluster.Length);
        EndMarker = walk.HasEndMarker ? walk.Position - HeaderExtension.HeaderBytes : -1;
    }

    /// <summary>The extensions in their order; offsets and lengths in bytes.</summary>
    public List<(HeaderExtensionType Type, int DataOffset, int Length)> Extensions { get; } = [];

    /// <summary>The offset of the end marker; -1 without one, and then the area is full.</summary>
    public int EndMarker { get; }

    /// <summary>The end of the extensions and the end marker.</summary>
    public int End { get; }

    /// <summary>Where the name of the backing file starts; 0 without one.</summary>
    public int NameStart { get; }

    /// <summary>The end of the name, or of the cluster if that is smaller.</summary>
    public int NameEnd { get; }

    /// <summary>Why the extensions cannot be read completely.</summary>
    public FormatFault? Fault { get; }

    /// <summary>Where an extension or the end marker starts.</summary>
    public IEnumerable<int> Starts =>
        Extensions.Select(static extension => extension.DataOffset - HeaderExtension.HeaderBytes).Append(EndMarker);

    /// <summary>The header's bytes.</summary>
    public Range Header => .._headerLength;

    /// <summary>Copies all bytes that matter to readers: not those in fillers or past the end.</summary>
    public void CopySeen(ReadOnlySpan<byte> from, Span<byte> to)
    {
        from[Header].CopyTo(to);
        foreach ((HeaderExtensionType type, int dataOffset, int length) in Extensions)
        {
            int start = dataOffset - HeaderExtension.HeaderBytes;
            from.Slice(start, HeaderExtension.HeaderBytes + (type == Filler ? 0 : length)).CopyTo(to[start..]);
        }

        if (EndMarker >= 0)
        {
            from[EndMarker..End].CopyTo(to[EndMarker..]);
        }

        from[NameStart..NameEnd].CopyTo(to[NameStart..]);
    }
}
