using System.Buffers.Binary;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Plans how an image is switched from one bitmap directory to another, by writes to its first cluster that a crash may end anywhere.</summary>
/// <remarks>
/// The plan is a list of stages with a flush after each. A stage either writes where nobody looks yet, or changes a single sector; so each state between is as before or
/// as after. One exception that cannot be helped where the header and the extension lie in different sectors: while the first bitmaps are being published, and the last ones
/// removed, the extension may be there with the autoclear bit off, which every reader takes for an image without bitmaps. The reverse, which QEMU does not survive, never is.
/// Other extensions and unknown bytes stay where they are. Pure: does no I/O.
/// </remarks>
internal sealed class HeaderSwitch
{
    /// <summary>An extension that means nothing: what is left of a bitmaps extension where nothing can be moved up. It is used again.</summary>
    public const HeaderExtensionType Filler = (HeaderExtensionType)0x5142464C;

    /// <summary>The autoclear bits that are known here; every writer clears all others. Spec: "autoclear_features".</summary>
    public const AutoclearFeatures KnownAutoclear = AutoclearFeatures.Bitmaps | AutoclearFeatures.RawExternalData;

    private const int SectorBytes = RefcountBlockEdit.SectorBytes;
    private const int ExtensionBytes = HeaderExtension.HeaderBytes + BitmapsExtension.SizeBytes;

    private readonly string _imageName;
    private readonly Qcow2Header _header;
    private readonly byte[] _original;
    private readonly byte[] _cluster;
    private readonly byte[] _staged;
    private readonly List<IReadOnlyList<SectorWrite>> _stages = [];
    private readonly List<(HeaderExtensionType Type, int DataOffset, int Length)> _extensions = [];
    private readonly int _endMarker;
    private int _backingFileOffset;

    private HeaderSwitch(string imageName, Qcow2Header header, ReadOnlySpan<byte> firstCluster)
    {
        _imageName = imageName;
        _header = header;
        _original = firstCluster.ToArray();
        _cluster = firstCluster.ToArray();
        _staged = firstCluster.ToArray();
        _backingFileOffset = (int)header.BackingFileOffset;
        var walk = new HeaderExtensionEnumerator(firstCluster, header.HeaderLength, header.ExtensionAreaEnd);
        while (walk.MoveNext())
        {
            _extensions.Add((walk.Current.Type, walk.Current.DataOffset, walk.Current.Data.Length));
        }

        if (walk.Fault is { } fault)
        {
            throw new Qcow2FormatException(fault, imageName);
        }

        // Without an end marker the area is full.
        _endMarker = walk.HasEndMarker ? walk.Position - HeaderExtension.HeaderBytes : -1;
    }

    private bool IsPublished
    {
        get => _header.Version >= 3 && (BinaryPrimitives.ReadUInt64BigEndian(_cluster.AsSpan(HeaderLayout.AutoclearFeatures)) & (ulong)AutoclearFeatures.Bitmaps) != 0;
        set
        {
            if (_header.Version < 3)
            {
                // There extensions stand in that place.
                return;
            }

            // Bits that are not known here say something about data that is no longer true once somebody else has written: the specification has them cleared.
            AutoclearFeatures known = (AutoclearFeatures)BinaryPrimitives.ReadUInt64BigEndian(_cluster.AsSpan(HeaderLayout.AutoclearFeatures)) & AutoclearFeatures.RawExternalData;
            BinaryPrimitives.WriteUInt64BigEndian(
                _cluster.AsSpan(HeaderLayout.AutoclearFeatures), (ulong)(known | (value ? AutoclearFeatures.Bitmaps : AutoclearFeatures.None)));
        }
    }

    /// <summary>Plans the switch.</summary>
    /// <param name="imageName">The image's name, for messages.</param>
    /// <param name="header">The header.</param>
    /// <param name="firstCluster">All of the first cluster as it is.</param>
    /// <param name="target">What the extension is to say; null for no bitmaps.</param>
    /// <returns>The stages, to be written one after another with a flush after each. Empty when nothing changes.</returns>
    /// <exception cref="Qcow2UnsupportedException">The first cluster has no room for the extension.</exception>
    /// <exception cref="Qcow2FormatException">The extensions are broken.</exception>
    public static IReadOnlyList<IReadOnlyList<SectorWrite>> Plan(string imageName, Qcow2Header header, ReadOnlySpan<byte> firstCluster, BitmapsExtension? target)
    {
        if ((header.HeaderLength & 7) != 0)
        {
            // QEMU reads such headers. Nothing in them is aligned so that it could be switched.
            throw new Qcow2FormatException(
                Faults.Of(FaultCode.HeaderLength, "header", "header_length", HeaderLayout.HeaderLength, header.HeaderLength, "a multiple of 8, for an image that is to be written"), imageName);
        }

        var plan = new HeaderSwitch(imageName, header, firstCluster);
        if (target is { } extension)
        {
            plan.Publish(extension);
        }
        else
        {
            plan.Withdraw();
        }

        plan.EndStage();
        List<SectorWrite> all = Difference(plan._original, plan._cluster);
        return all.Count <= 1 && plan._stages.Count > 1 ? [all] : plan._stages;
    }

    private void Publish(BitmapsExtension target)
    {
        bool wasPublished = IsPublished;
        // Clears unknown autoclear bits in any case.
        IsPublished = wasPublished;
        int last = _extensions.FindLastIndex(static e => e.Type == HeaderExtensionType.Bitmaps && e.Length == BitmapsExtension.SizeBytes);
        DropOthers(last);
        if (last >= 0 && !(wasPublished && Crosses(_extensions[last].DataOffset, BitmapsExtension.SizeBytes)))
        {
            if (wasPublished)
            {
                // The switch itself; unknown bits first, where they are in another sector.
                EndStage();
            }

            Write(_extensions[last].DataOffset, target);
        }
        else
        {
            int place = FindFiller();
            if (place < 0)
            {
                place = Append(target);
            }
            else
            {
                Write(place, target);
                EndStage();
            }

            // The type makes it count: four bytes at a multiple of 8.
            BinaryPrimitives.WriteUInt32BigEndian(_cluster.AsSpan(place - HeaderExtension.HeaderBytes), (uint)HeaderExtensionType.Bitmaps);
            if (last >= 0)
            {
                EndStage();
                SetType(last, Filler);
            }
        }

        if (!wasPublished)
        {
            if (Difference(_staged, _cluster).Exists(static write => write.Offset >= SectorBytes))
            {
                EndStage();
            }

            IsPublished = true;
        }
    }

    /// <summary>Drops bitmaps extensions that do not count, as the last one does, and that no reader must ever take for it.</summary>
    private void DropOthers(int last)
    {
        for (int i = 0; i < _extensions.Count; i++)
        {
            if (i != last && _extensions[i].Type == HeaderExtensionType.Bitmaps)
            {
                SetType(i, Filler);
                EndStage();
            }
        }
    }

    private void Withdraw()
    {
        IsPublished = false;
        EndStage();
        for (int i = _extensions.Count - 1; i >= 0; i--)
        {
            if (_extensions[i].Type != HeaderExtensionType.Bitmaps)
            {
                continue;
            }

            bool isLast = i == _extensions.Count - 1 && _endMarker >= 0;
            SetType(i, isLast ? HeaderExtensionType.End : Filler);
            if (isLast)
            {
                // An end marker is two zeros; they lie in one sector.
                BinaryPrimitives.WriteUInt32BigEndian(_cluster.AsSpan(_extensions[i].DataOffset - sizeof(uint)), 0);
            }

            EndStage();
        }
    }

    private int FindFiller() => _extensions.FindIndex(static e => e.Type == Filler && e.Length == BitmapsExtension.SizeBytes && !Crosses(e.DataOffset, BitmapsExtension.SizeBytes)) is >= 0 and int index
        ? _extensions[index].DataOffset
        : -1;

    /// <summary>Writes the extension and a new end marker behind the old one, which still ends the area.</summary>
    /// <returns>Where the extension's data stand.</returns>
    private int Append(BitmapsExtension target)
    {
        int newEnd = _endMarker + ExtensionBytes;
        if (_endMarker < 0 || (_endMarker & 7) != 0 || newEnd + HeaderExtension.HeaderBytes > _cluster.Length)
        {
            throw NoRoom();
        }

        if (_backingFileOffset != 0 && newEnd + HeaderExtension.HeaderBytes > _backingFileOffset)
        {
            MoveBackingFileName(newEnd + HeaderExtension.HeaderBytes);
        }

        int place = _endMarker + HeaderExtension.HeaderBytes;
        BinaryPrimitives.WriteUInt32BigEndian(_cluster.AsSpan(_endMarker + sizeof(uint)), BitmapsExtension.SizeBytes);
        Write(place, target);
        _cluster.AsSpan(newEnd, HeaderExtension.HeaderBytes).Clear();
        EndStage();
        return place;
    }

    private void MoveBackingFileName(int firstFree)
    {
        if (_header.BackingFileSize > (uint)(_cluster.Length - _backingFileOffset))
        {
            throw new Qcow2FormatException(
                Faults.Of(FaultCode.HeaderBackingFileSize, "header", "backing_file_size", HeaderLayout.BackingFileSize, _header.BackingFileSize, $"at most {_cluster.Length - _backingFileOffset} bytes, for a name that is to be moved"), _imageName);
        }

        int length = (int)_header.BackingFileSize;
        int oldEnd = _backingFileOffset + length;
        // In one sector all changes at once, so that the old name may be written over.
        int place = _cluster.Length == SectorBytes || firstFree >= oldEnd ? firstFree : (oldEnd + 7) & ~7;
        if (place + length > _cluster.Length)
        {
            throw NoRoom();
        }

        _cluster.AsSpan(_backingFileOffset, length).CopyTo(_cluster.AsSpan(place));
        EndStage();
        _backingFileOffset = place;
        BinaryPrimitives.WriteUInt64BigEndian(_cluster.AsSpan(HeaderLayout.BackingFileOffset), (ulong)place);
        EndStage();
    }

    private void Write(int dataOffset, BitmapsExtension extension) => extension.Write(_cluster.AsSpan(dataOffset, BitmapsExtension.SizeBytes));

    private void SetType(int index, HeaderExtensionType type) =>
        BinaryPrimitives.WriteUInt32BigEndian(_cluster.AsSpan(_extensions[index].DataOffset - HeaderExtension.HeaderBytes), (uint)type);

    private static bool Crosses(int offset, int length) => offset / SectorBytes != (offset + length - 1) / SectorBytes;

    /// <summary>Ends a stage: what changed since the last one.</summary>
    private void EndStage()
    {
        List<SectorWrite> writes = Difference(_staged, _cluster);
        if (writes.Count > 0)
        {
            _stages.Add(writes);
            _cluster.CopyTo(_staged, 0);
        }
    }

    /// <summary>What has to be written to make one state of the first cluster another, sector by sector.</summary>
    public static List<SectorWrite> Difference(byte[] before, byte[] after)
    {
        var writes = new List<SectorWrite>();
        for (int sector = 0; sector < before.Length; sector += SectorBytes)
        {
            int length = Math.Min(SectorBytes, before.Length - sector);
            int first = before.AsSpan(sector, length).CommonPrefixLength(after.AsSpan(sector, length));
            if (first == length)
            {
                continue;
            }

            int end = length;
            while (before[sector + end - 1] == after[sector + end - 1])
            {
                end--;
            }

            writes.Add(new SectorWrite(sector + first, before.AsMemory(sector + first, end - first).ToArray(), after.AsMemory(sector + first, end - first).ToArray()));
        }

        return writes;
    }

    private Qcow2UnsupportedException NoRoom() => new(
        UnsupportedReason.NoRoomInHeader, $"'{_imageName}': No space left in the file header for the bitmaps extension: the first cluster of {_cluster.Length} bytes is full");
}
