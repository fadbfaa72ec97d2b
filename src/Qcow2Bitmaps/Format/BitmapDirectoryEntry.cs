using static System.Buffers.Binary.BinaryPrimitives;

namespace Qcow2Bitmaps.Format;

/// <summary>One entry of the bitmap directory, as a view of its bytes. Spec: "Bitmap directory".</summary>
/// <remarks>Holds the values unchecked; <see cref="CheckFaults"/> checks them.</remarks>
internal readonly ref struct BitmapDirectoryEntry
{
    /// <summary>Bytes before the extra data and the name.</summary>
    public const int FixedBytes = ExtraDataSizeField + sizeof(uint);

    /// <summary>The type of a dirty tracking bitmap, the only one.</summary>
    public const byte DirtyTrackingType = 1;

    private const int TableOffsetField = 0;
    private const int TableSizeField = TableOffsetField + sizeof(ulong);
    private const int FlagsField = TableSizeField + sizeof(uint);
    private const int TypeField = FlagsField + sizeof(uint);
    private const int GranularityBitsField = TypeField + 1;
    private const int NameSizeField = GranularityBitsField + 1;
    private const int ExtraDataSizeField = NameSizeField + sizeof(ushort);
    private const BitmapFlags KnownToQemu = BitmapFlags.InUse | BitmapFlags.Auto;

    /// <summary>Where the bitmap's table starts, in bytes from the start of the file.</summary>
    public ulong TableOffset { get; init; }

    /// <summary>Entries of the bitmap's table.</summary>
    public uint TableEntries { get; init; }

    /// <summary>The flags.</summary>
    public BitmapFlags Flags { get; init; }

    /// <summary>The type: <see cref="DirtyTrackingType"/>.</summary>
    public byte Type { get; init; }

    /// <summary>The granularity as a power of two.</summary>
    public byte GranularityBits { get; init; }

    /// <summary>Extra data of unknown meaning.</summary>
    public ReadOnlySpan<byte> ExtraData { get; init; }

    /// <summary>The name's bytes, meant as UTF-8.</summary>
    public ReadOnlySpan<byte> Name { get; init; }

    /// <summary>The bytes between the name and the entry's end; zeros when the entry was never read.</summary>
    public ReadOnlySpan<byte> Padding { get; init; }

    /// <summary>The entry's size in bytes, including padding to a multiple of 8.</summary>
    public int SizeBytes => (FixedBytes + ExtraData.Length + Name.Length + 7) & ~7;

    /// <summary>Reads the first entry of a directory.</summary>
    /// <param name="source">The directory from the entry on.</param>
    /// <param name="entry">The entry.</param>
    /// <returns>Whether the whole entry lies inside the source.</returns>
    public static bool TryRead(ReadOnlySpan<byte> source, out BitmapDirectoryEntry entry)
    {
        entry = default;
        if (source.Length < FixedBytes)
        {
            return false;
        }

        int nameSize = ReadUInt16BigEndian(source[NameSizeField..]);
        uint extraSize = ReadUInt32BigEndian(source[ExtraDataSizeField..]);
        // 64 bits: an extra data size near 2^32 must not wrap.
        long end = ((long)FixedBytes + extraSize + nameSize + 7) & ~7L;
        if (end > source.Length)
        {
            return false;
        }

        int nameStart = FixedBytes + (int)extraSize;
        entry = new BitmapDirectoryEntry
        {
            TableOffset = ReadUInt64BigEndian(source),
            TableEntries = ReadUInt32BigEndian(source[TableSizeField..]),
            Flags = (BitmapFlags)ReadUInt32BigEndian(source[FlagsField..]),
            Type = source[TypeField],
            GranularityBits = source[GranularityBitsField],
            ExtraData = source[FixedBytes..nameStart],
            Name = source.Slice(nameStart, nameSize),
            Padding = source[(nameStart + nameSize)..(int)end],
        };
        return true;
    }

    /// <summary>Writes the entry, its padding as zeros.</summary>
    /// <param name="destination">At least <see cref="SizeBytes"/> bytes.</param>
    /// <returns>The number of bytes written.</returns>
    /// <exception cref="ArgumentException">The destination is too short, or the name longer than 65535 bytes.</exception>
    public int Write(Span<byte> destination)
    {
        int size = SizeBytes;
        if (destination.Length < size || Name.Length > ushort.MaxValue)
        {
            throw new ArgumentException(
                $"An entry of {size} bytes with a name of {Name.Length} does not fit {destination.Length} bytes.", nameof(destination));
        }

        destination[..size].Clear();
        WriteUInt64BigEndian(destination, TableOffset);
        WriteUInt32BigEndian(destination[TableSizeField..], TableEntries);
        WriteUInt32BigEndian(destination[FlagsField..], (uint)Flags);
        destination[TypeField] = Type;
        destination[GranularityBitsField] = GranularityBits;
        WriteUInt16BigEndian(destination[NameSizeField..], (ushort)Name.Length);
        WriteUInt32BigEndian(destination[ExtraDataSizeField..], (uint)ExtraData.Length);
        ExtraData.CopyTo(destination[FixedBytes..]);
        Name.CopyTo(destination[(FixedBytes + ExtraData.Length)..]);
        return size;
    }

    /// <summary>Checks the entry by QEMU's rules.</summary>
    /// <param name="index">The entry's index in the directory, for messages.</param>
    /// <param name="offset">The entry's offset in the file, for messages.</param>
    /// <param name="geometry">The image's geometry.</param>
    /// <param name="limits">The limits to apply.</param>
    /// <returns>The faults, QEMU's first one first; empty when QEMU accepts the entry. An entry in use may have a table of any size at any
    /// aligned offset: QEMU does not read it.</returns>
    public IReadOnlyList<FormatFault> CheckFaults(int index, ulong offset, ImageGeometry geometry, Qcow2Limits limits)
    {
        ArgumentNullException.ThrowIfNull(limits);
        List<FormatFault>? faults = null;
        if (!ExtraData.IsEmpty)
        {
            Add(
                ref faults,
                Faults.Of(
                    FaultCode.BitmapExtraData, Describe(index), "extra_data_size", offset + ExtraDataSizeField, ExtraData.Length,
                    "0: the meaning of extra data is not known"));
        }

        long maxEntries = Math.Min(limits.MaxBitmapTableEntries, limits.MaxBitmapBytes >> geometry.ClusterBits);
        if (TableEntries == 0 || TableEntries > maxEntries)
        {
            Add(
                ref faults,
                Faults.Of(
                    FaultCode.BitmapTableSize, Describe(index), "bitmap_table_size", offset + TableSizeField, TableEntries,
                    $"1 to {maxEntries} entries"));
        }

        // HasFlag boxes until the method is compiled with optimisations.
        bool isInUse = (Flags & BitmapFlags.InUse) != BitmapFlags.None;
        if (TableOffset == 0 || !geometry.IsClusterAligned(TableOffset) || (TableOffset > Faults.MaxOffset && !isInUse))
        {
            Add(
                ref faults,
                Faults.OfHex(
                    FaultCode.BitmapTableOffset, Describe(index), "bitmap_table_offset", offset + TableOffsetField, TableOffset,
                    $"a multiple of {geometry.ClusterSizeBytes} above 0 and below 2^63"));
        }

        if (GranularityBits is < BitmapGranularity.MinBits or > BitmapGranularity.MaxBits)
        {
            Add(
                ref faults,
                Faults.Of(
                    FaultCode.BitmapGranularity, Describe(index), "granularity_bits", offset + GranularityBitsField, GranularityBits,
                    "9 to 31 (512 bytes to 2 GiB)"));
        }
        else if (!isInUse && TableEntries != 0 && TableEntries != geometry.BitmapTableEntries(GranularityBits))
        {
            long needed = geometry.BitmapTableEntries(GranularityBits);
            Add(
                ref faults,
                Faults.Of(
                    FaultCode.BitmapTableSize, Describe(index), "bitmap_table_size", offset + TableSizeField, TableEntries,
                    $"{needed} entries for this disk and granularity"));
        }

        if ((Flags & ~KnownToQemu) != BitmapFlags.None)
        {
            Add(
                ref faults,
                Faults.OfHex(
                    FaultCode.BitmapFlags, Describe(index), "flags", offset + FlagsField, (uint)Flags, "bits of 0x3 (in_use, auto)"));
        }

        if (Name.Length > limits.MaxBitmapNameBytes)
        {
            Add(
                ref faults,
                Faults.Of(
                    FaultCode.BitmapName, Describe(index), "name_size", offset + NameSizeField, Name.Length,
                    $"at most {limits.MaxBitmapNameBytes} bytes"));
        }

        if (Type != DirtyTrackingType)
        {
            Add(ref faults, Faults.Of(FaultCode.BitmapType, Describe(index), "type", offset + TypeField, Type, "1 (dirty tracking)"));
        }

        // The common case allocates nothing: the empty array is one.
        return faults ?? (IReadOnlyList<FormatFault>)[];
    }

    /// <summary>The entry as named in messages: its index and its name.</summary>
    /// <param name="index">The entry's index in the directory.</param>
    public string Describe(int index) =>
        PrintableMessage.Of($"bitmap directory entry {index} ('{ImageText.DecodeUpToNul(Name)}')");

    private static void Add(ref List<FormatFault>? faults, FormatFault fault) => (faults ??= []).Add(fault);
}
