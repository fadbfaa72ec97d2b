using System.Buffers.Binary;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Plans how an image comes to name another backing file, by writes to its first cluster that a crash may end anywhere.</summary>
/// <remarks>
/// The new name is written where nobody looks; then one sector, the first, switches to it, together with the format if that changes. The format's extension has to lie in that
/// sector for this: QEMU puts it right behind the header. Pure: does no I/O.
/// </remarks>
internal sealed class BackingSwitch
{
    private const int SectorBytes = RefcountBlockEdit.SectorBytes;
    private const int FormatBytes = 8;

    private readonly string _imageName;
    private readonly Qcow2Header _header;
    private readonly byte[] _cluster;
    private readonly (int DataOffset, int Length)? _format;
    private readonly int _endMarker;

    private BackingSwitch(string imageName, Qcow2Header header, byte[] cluster)
    {
        _imageName = imageName;
        _header = header;
        _cluster = cluster;
        var walk = new HeaderExtensionEnumerator(cluster, header.HeaderLength, header.ExtensionAreaEnd);
        while (walk.MoveNext())
        {
            if (walk.Current.Type == HeaderExtensionType.BackingFormat)
            {
                _format = (walk.Current.DataOffset, walk.Current.Data.Length);
            }
        }

        if (walk.Fault is { } fault)
        {
            throw new Qcow2FormatException(fault, imageName);
        }

        // Without an end marker the area is full.
        _endMarker = walk.HasEndMarker ? walk.Position - HeaderExtension.HeaderBytes : walk.Position;
        HasEndMarker = walk.HasEndMarker;
    }

    private bool HasEndMarker { get; }

    /// <summary>Plans the switch.</summary>
    /// <param name="imageName">The image's name, for messages.</param>
    /// <param name="header">The header.</param>
    /// <param name="firstCluster">All of the first cluster as it is.</param>
    /// <param name="name">The backing file's name as it is to be stored, 1 to 1023 bytes; null for no backing file.</param>
    /// <param name="format">The backing file's format.</param>
    /// <returns>The stages, to be written one after another with a flush after each. Empty when nothing changes.</returns>
    /// <exception cref="Qcow2UnsupportedException">The first cluster has no room for the name, or none in the first sector for the format.</exception>
    /// <exception cref="Qcow2FormatException">The extensions are broken.</exception>
    public static IReadOnlyList<IReadOnlyList<SectorWrite>> Plan(string imageName, Qcow2Header header, ReadOnlySpan<byte> firstCluster, byte[]? name, byte[] format)
    {
        byte[] before = firstCluster.ToArray();
        byte[] staged = firstCluster.ToArray();
        var plan = new BackingSwitch(imageName, header, staged);
        var stages = new List<IReadOnlyList<SectorWrite>>();
        int place = 0;
        byte[] named = staged;
        if (name is not null)
        {
            place = plan.PlaceFor(name, isFormatNew: plan._format is null);
            plan.StageFormat(format);
            name.CopyTo(staged, place);
            Add(stages, before, staged);
            named = [.. staged];
            plan.NameFormat(named, format);
            if (plan.IsFormatApart)
            {
                // Means nothing while there is no backing file.
                Add(stages, staged, named);
                staged = named;
            }
        }

        byte[] after = [.. named];
        if (name is null)
        {
            plan.EndExtensions(after);
        }

        BinaryPrimitives.WriteUInt64BigEndian(after.AsSpan(HeaderLayout.BackingFileOffset), (ulong)place);
        BinaryPrimitives.WriteUInt32BigEndian(after.AsSpan(HeaderLayout.BackingFileSize), (uint)(name?.Length ?? 0));
        if (header.Version >= 3)
        {
            ulong autoclear = BinaryPrimitives.ReadUInt64BigEndian(after.AsSpan(HeaderLayout.AutoclearFeatures)) & (ulong)HeaderSwitch.KnownAutoclear;
            BinaryPrimitives.WriteUInt64BigEndian(after.AsSpan(HeaderLayout.AutoclearFeatures), autoclear);
        }

        Add(stages, staged, after);
        // In one sector all changes at once.
        List<SectorWrite> all = HeaderSwitch.Difference(before, after);
        return all.Count <= 1 && stages.Count > 1 ? [all] : stages;
    }

    private static void Add(List<IReadOnlyList<SectorWrite>> stages, byte[] before, byte[] after)
    {
        List<SectorWrite> writes = HeaderSwitch.Difference(before, after);
        if (writes.Count > 0)
        {
            stages.Add(writes);
        }
    }

    /// <summary>Puts an end behind extensions that the name has ended so far: without it they would be read on, to the cluster's end.</summary>
    private void EndExtensions(byte[] cluster)
    {
        if (HasEndMarker || _header.BackingFileOffset == 0)
        {
            return;
        }

        if (_endMarker + HeaderExtension.HeaderBytes > SectorBytes)
        {
            throw NoRoom("the extensions' end in the first sector");
        }

        cluster.AsSpan(_endMarker, HeaderExtension.HeaderBytes).Clear();
    }

    /// <summary>Where a name goes that does not stand there already: behind the extensions, apart from the name that is in use.</summary>
    private int PlaceFor(byte[] name, bool isFormatNew)
    {
        int oldStart = (int)_header.BackingFileOffset;
        int oldEnd = oldStart + (int)Math.Min(_header.BackingFileSize, (uint)Math.Max(0, _cluster.Length - oldStart));
        if (oldStart > 0 && _cluster.AsSpan(oldStart, oldEnd - oldStart).SequenceEqual(name))
        {
            return oldStart;
        }

        // A format that is not there yet takes the place of the end marker, which moves behind it.
        int free = _endMarker + HeaderExtension.HeaderBytes + (isFormatNew ? HeaderExtension.HeaderBytes + FormatBytes : 0);
        bool fitsBefore = oldStart == 0 || _cluster.Length == SectorBytes || free + name.Length <= oldStart || oldEnd <= free;
        int place = fitsBefore ? free : (oldEnd + 7) & ~7;
        if (!HasEndMarker || place + name.Length > _cluster.Length)
        {
            throw NoRoom($"a backing file name of {name.Length} bytes");
        }

        return place;
    }

    /// <summary>Whether the format stands behind the sector with the name's place, so that both cannot change at once.</summary>
    private bool IsFormatApart => _format is null ? _endMarker >= SectorBytes : FormatEnd > SectorBytes;

    private int FormatStart => _format?.DataOffset ?? _endMarker + HeaderExtension.HeaderBytes;

    private int FormatRoom => _format is { } stored ? (stored.Length + 7) & ~7 : FormatBytes;

    private int FormatEnd => FormatStart + FormatRoom;

    /// <summary>Refuses a format that has no room. One that is not there yet is written behind the end marker, where nobody reads it.</summary>
    private void StageFormat(byte[] format)
    {
        bool isSame = _format is { } stored && _cluster.AsSpan(stored.DataOffset, stored.Length).SequenceEqual(format);
        if (!isSame && (format.Length > FormatRoom || (IsFormatApart && _header.BackingFileOffset != 0)))
        {
            throw NoRoom("the backing format beside it in the first sector");
        }

        if (_format is null)
        {
            int end = FormatEnd + HeaderExtension.HeaderBytes;
            if (!HasEndMarker || end > _cluster.Length || OverlapsName(FormatStart, end))
            {
                throw NoRoom("the backing format");
            }

            _cluster.AsSpan(FormatStart, end - FormatStart).Clear();
            format.CopyTo(_cluster, FormatStart);
        }
    }

    /// <summary>Lets the extensions have the format.</summary>
    /// <param name="cluster">A cluster where it is staged.</param>
    /// <param name="format">The format's name.</param>
    private void NameFormat(Span<byte> cluster, byte[] format)
    {
        // Zeros fill it up, so that what follows stays where it is.
        int length = Math.Max(format.Length, FormatRoom - 7);
        BinaryPrimitives.WriteUInt32BigEndian(cluster[(FormatStart - HeaderExtension.HeaderBytes)..], (uint)HeaderExtensionType.BackingFormat);
        BinaryPrimitives.WriteUInt32BigEndian(cluster[(FormatStart - sizeof(uint))..], (uint)length);
        cluster[FormatStart..FormatEnd].Clear();
        format.CopyTo(cluster[FormatStart..]);
    }

    /// <summary>Whether the name in use stands where an extension is to go. In a cluster of one sector both change at once.</summary>
    private bool OverlapsName(int start, int end) => _format is null
        && _cluster.Length > SectorBytes
        && _header.BackingFileOffset != 0
        && (int)_header.BackingFileOffset < end
        && start < (int)_header.BackingFileOffset + (int)_header.BackingFileSize;

    private Qcow2UnsupportedException NoRoom(string what) => new(
        UnsupportedReason.NoRoomInHeader, $"'{PrintableText.Escape(_imageName)}': No space left in the file header for {what}: the first cluster has {_cluster.Length} bytes");
}
