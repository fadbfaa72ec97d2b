using System.Buffers.Binary;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Plans how an image comes to name another backing file, by writes to its first cluster that a crash may end anywhere.</summary>
/// <remarks>
/// The new name is written where nobody looks; then one sector, the first, switches to it, together with the format if that changes. Where extensions beyond that sector change or move, all of them are
/// written anew behind all that there is, and the switch has the first one be of unknown type and reach up to there; then the original place gets them, and the first sector switches back to it. Pure: does no I/O.
/// </remarks>
internal sealed class BackingSwitch
{
    /// <summary>How long a format may be: QEMU does not open an image with a longer one.</summary>
    public const int MaxFormatBytes = 15;

    private const int SectorBytes = RefcountBlockEdit.SectorBytes;

    private readonly string _imageName;
    private readonly Qcow2Header _header;
    private readonly byte[] _before;
    private readonly byte[]? _name;
    private readonly int _start;
    private readonly int _oldNameStart;
    private readonly int _oldNameEnd;
    // Behind the end marker, where there is one.
    private readonly int _oldEnd;
    private readonly byte[] _extensions;

    private BackingSwitch(string imageName, Qcow2Header header, byte[] firstCluster, byte[]? name, byte[] format)
    {
        _imageName = imageName;
        _header = header;
        _before = firstCluster;
        _name = name;
        _start = (int)header.HeaderLength;
        _oldNameStart = (int)header.BackingFileOffset;
        _oldNameEnd = _oldNameStart == 0 ? 0 : (int)Math.Min(header.BackingFileOffset + header.BackingFileSize, (ulong)firstCluster.Length);
        var extensions = new List<(HeaderExtensionType Type, byte[] Data)>();
        var walk = new HeaderExtensionEnumerator(firstCluster, header.HeaderLength, header.ExtensionAreaEnd);
        while (walk.MoveNext())
        {
            // A stop has left one that reaches up to a copy: it means nothing.
            if (walk.Current.Type != HeaderSwitch.Filler || walk.Current.Data.Length == BitmapsExtension.SizeBytes)
            {
                extensions.Add((walk.Current.Type, walk.Current.Data.ToArray()));
            }
        }

        if (walk.Fault is { } fault)
        {
            throw new Qcow2FormatException(fault, imageName);
        }

        _oldEnd = Math.Min(walk.Position, firstCluster.Length);
        if (name is not null)
        {
            SetFormat(extensions, format);
        }

        _extensions = Serialize(extensions);
    }

    private int NewEnd => _start + _extensions.Length;

    /// <summary>Plans the switch.</summary>
    /// <param name="imageName">The image's name, for messages.</param>
    /// <param name="header">The header.</param>
    /// <param name="firstCluster">All of the first cluster as it is.</param>
    /// <param name="name">The backing file's name as it is to be stored, 1 to 1023 bytes; null for no backing file.</param>
    /// <param name="format">The backing file's format, at most <see cref="MaxFormatBytes"/>.</param>
    /// <returns>The stages, to be written one after another with a flush after each. Empty when nothing changes.</returns>
    /// <exception cref="Qcow2UnsupportedException">The first cluster has no room.</exception>
    /// <exception cref="Qcow2FormatException">The extensions are broken.</exception>
    public static IReadOnlyList<IReadOnlyList<SectorWrite>> Plan(string imageName, Qcow2Header header, ReadOnlySpan<byte> firstCluster, byte[]? name, byte[] format)
    {
        var plan = new BackingSwitch(imageName, header, firstCluster.ToArray(), name, format);
        List<byte[]> states = plan.InOneSector() ?? plan.InPlace() ?? plan.ByWayOfACopy();
        var stages = new List<IReadOnlyList<SectorWrite>>();
        for (int i = 1; i < states.Count; i++)
        {
            List<SectorWrite> writes = HeaderSwitch.Difference(states[i - 1], states[i]);
            if (writes.Count > 0)
            {
                stages.Add(writes);
            }
        }

        return stages;
    }

    /// <summary>Has one extension say the format. The last one counts if there are several; it takes the first one's place, in the first sector as a rule.</summary>
    private static void SetFormat(List<(HeaderExtensionType Type, byte[] Data)> extensions, byte[] format)
    {
        int last = extensions.FindLastIndex(static extension => extension.Type == HeaderExtensionType.BackingFormat);
        if (last >= 0 && extensions[last].Data.AsSpan().SequenceEqual(format))
        {
            return;
        }

        int first = extensions.FindIndex(static extension => extension.Type == HeaderExtensionType.BackingFormat);
        extensions.RemoveAll(static extension => extension.Type == HeaderExtensionType.BackingFormat);
        // A new one behind all others, which stay where they are.
        extensions.Insert(first < 0 ? extensions.Count : first, (HeaderExtensionType.BackingFormat, format));
    }

    private static byte[] Serialize(List<(HeaderExtensionType Type, byte[] Data)> extensions)
    {
        var bytes = new byte[extensions.Sum(static extension => HeaderExtension.SizeBytes(extension.Data.Length)) + HeaderExtension.HeaderBytes];
        int at = 0;
        foreach ((HeaderExtensionType type, byte[] data) in extensions)
        {
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(at), (uint)type);
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(at + sizeof(uint)), (uint)data.Length);
            data.CopyTo(bytes, at + HeaderExtension.HeaderBytes);
            at += HeaderExtension.SizeBytes(data.Length);
        }

        // The zeros behind it are the end marker.
        return bytes;
    }

    /// <summary>All that changes lies in one sector: the name right behind the extensions.</summary>
    private List<byte[]>? InOneSector()
    {
        if (NewEnd + (_name?.Length ?? 0) > _before.Length)
        {
            return null;
        }

        byte[] after = After(NewEnd);
        return HeaderSwitch.Difference(_before, after).Count <= 1 ? [_before, after] : null;
    }

    /// <summary>What changes where readers look lies in the first sector; or, while no backing file is named so that a format means nothing, in another one.</summary>
    private List<byte[]>? InPlace()
    {
        int place = PlaceBeside();
        if (place + (_name?.Length ?? 0) > _before.Length || (_oldNameStart != 0 && NewEnd > _oldNameStart))
        {
            return null;
        }

        byte[] after = After(place);
        byte[] staged = [.. _before];
        after.AsSpan(_oldEnd).CopyTo(staged.AsSpan(_oldEnd));
        List<SectorWrite> seen = HeaderSwitch.Difference(staged, after);
        if (seen.TrueForAll(static write => write.Offset < SectorBytes))
        {
            return [_before, staged, after];
        }

        byte[] formatted = [.. after];
        staged.AsSpan(0, SectorBytes).CopyTo(formatted);
        int first = Math.Min(_start, SectorBytes);
        return _oldNameStart == 0 && HeaderSwitch.Difference(staged, formatted).Count == 1 && _before.AsSpan(first..SectorBytes).SequenceEqual(after.AsSpan(first..SectorBytes))
            ? [_before, staged, formatted, after]
            : null;
    }

    private List<byte[]> ByWayOfACopy()
    {
        int copy = Align(Math.Max(_oldEnd, Math.Max(_oldNameEnd, NewEnd)));
        int place = copy + _extensions.Length;
        if (place + (_name?.Length ?? 0) > _before.Length || (_start & 7) != 0 || _start + HeaderExtension.HeaderBytes > SectorBytes)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.NoRoomInHeader,
                $"'{_imageName}': No space left in the file header for {(_name is null ? "the end of its extensions" : $"a backing file name of {_name.Length} bytes and its format")}: the first cluster has {_before.Length} bytes");
        }

        byte[] final = After(place);
        byte[] copied = [.. _before];
        _extensions.CopyTo(copied, copy);
        _name?.CopyTo(copied, place);
        byte[] switched = [.. copied];
        SetFields(switched, place);
        BinaryPrimitives.WriteUInt32BigEndian(switched.AsSpan(_start), (uint)HeaderSwitch.Filler);
        BinaryPrimitives.WriteUInt32BigEndian(switched.AsSpan(_start + sizeof(uint)), (uint)(copy - _start - HeaderExtension.HeaderBytes));
        byte[] back = [.. final];
        _extensions.CopyTo(back, copy);
        byte[] mended = [.. back];
        switched.AsSpan(0, SectorBytes).CopyTo(mended);
        return [_before, copied, switched, mended, back];
    }

    /// <summary>Where the name goes that is not the one in use, or where that stands already.</summary>
    private int PlaceBeside()
    {
        int free = Math.Max(_oldEnd, NewEnd);
        if (_name is null || _oldNameStart == 0)
        {
            return free;
        }

        return _oldNameStart >= free && _before.AsSpan(_oldNameStart.._oldNameEnd).SequenceEqual(_name) ? _oldNameStart
            : free + _name.Length <= _oldNameStart || _oldNameEnd <= free ? free
            : Align(_oldNameEnd);
    }

    /// <summary>The cluster as it is to be, with the name in some place.</summary>
    private byte[] After(int place)
    {
        byte[] after = [.. _before];
        _extensions.CopyTo(after, _start);
        _name?.CopyTo(after, place);
        SetFields(after, place);
        return after;
    }

    private void SetFields(byte[] cluster, int place)
    {
        BinaryPrimitives.WriteUInt64BigEndian(cluster.AsSpan(HeaderLayout.BackingFileOffset), _name is null ? 0 : (ulong)place);
        BinaryPrimitives.WriteUInt32BigEndian(cluster.AsSpan(HeaderLayout.BackingFileSize), (uint)(_name?.Length ?? 0));
        if (_header.Version >= 3)
        {
            Span<byte> autoclear = cluster.AsSpan(HeaderLayout.AutoclearFeatures);
            BinaryPrimitives.WriteUInt64BigEndian(autoclear, BinaryPrimitives.ReadUInt64BigEndian(autoclear) & (ulong)HeaderSwitch.KnownAutoclear);
        }
    }

    private static int Align(int offset) => (offset + 7) & ~7;
}
