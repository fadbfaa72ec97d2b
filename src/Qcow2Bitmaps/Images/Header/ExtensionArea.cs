using System.Buffers.Binary;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Header;

/// <summary>Where the header extensions and the name of the backing file stand in a first cluster.</summary>
internal sealed class ExtensionArea
{
    /// <summary>An extension that means nothing: what is left where nothing can be moved up, or a jump over all that lies before the next
    /// extension.</summary>
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

    /// <summary>Where the end marker stands; -1 without one: then the area is full.</summary>
    public int EndMarker { get; }

    /// <summary>Where the bytes behind the extensions, and behind the end marker, start.</summary>
    public int End { get; }

    /// <summary>Where the name of the backing file starts; 0 without one.</summary>
    public int NameStart { get; }

    /// <summary>Where the name ends, or the cluster if that is before.</summary>
    public int NameEnd { get; }

    /// <summary>Why the extensions cannot be read to their end.</summary>
    public FormatFault? Fault { get; }

    /// <summary>Where an extension or the end marker starts.</summary>
    public IEnumerable<int> Starts =>
        Extensions.Select(static extension => extension.DataOffset - HeaderExtension.HeaderBytes).Append(EndMarker);

    /// <summary>The header's bytes.</summary>
    public Range Header => .._headerLength;

    /// <summary>Copies all that a reader looks at: not what lies in fillers or behind the end.</summary>
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
