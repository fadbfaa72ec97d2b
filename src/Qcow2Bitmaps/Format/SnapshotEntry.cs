using static System.Buffers.Binary.BinaryPrimitives;

namespace Qcow2Bitmaps.Format;

/// <summary>One entry of the snapshot table, as a view of its bytes. Spec: "Snapshots".</summary>
internal readonly ref struct SnapshotEntry
{
    /// <summary>Bytes before the extra data, the id and the name.</summary>
    public const int FixedBytes = ExtraDataSizeField + sizeof(uint);

    /// <summary>The length in bytes of the extra data that this library knows.</summary>
    public const int KnownExtraDataBytes = 3 * sizeof(ulong);

    /// <summary>The minimum length in bytes of the extra data in version 3.</summary>
    public const int MinVersion3ExtraDataBytes = 2 * sizeof(ulong);

    private const int L1TableOffsetField = 0;
    private const int L1SizeField = L1TableOffsetField + sizeof(ulong);
    private const int IdSizeField = L1SizeField + sizeof(uint);
    private const int NameSizeField = IdSizeField + sizeof(ushort);
    private const int SecondsField = NameSizeField + sizeof(ushort);
    private const int NanosecondsField = SecondsField + sizeof(uint);
    private const int VmClockField = NanosecondsField + sizeof(uint);
    private const int VmStateSizeField = VmClockField + sizeof(ulong);
    private const int ExtraDataSizeField = VmStateSizeField + sizeof(uint);
    private const ulong NoInstructionCount = ulong.MaxValue;

    /// <summary>Where the snapshot's L1 table starts, in bytes from the start of the file.</summary>
    public ulong L1TableOffset { get; init; }

    /// <summary>Entries of the snapshot's L1 table.</summary>
    public uint L1Size { get; init; }

    /// <summary>When it was taken: whole seconds since 1970, UTC.</summary>
    public uint Seconds { get; init; }

    /// <summary>When it was taken: nanoseconds within the second.</summary>
    public uint Nanoseconds { get; init; }

    /// <summary>How long the guest had run, in nanoseconds.</summary>
    public ulong VmClockNanoseconds { get; init; }

    /// <summary>The VM state's size in bytes in the 32 bits of the fixed part.</summary>
    public uint VmStateSize32 { get; init; }

    /// <summary>Extra data: the VM state's size, the disk's size and the instruction count, 8 bytes each; later fields may be
    /// missing.</summary>
    public ReadOnlySpan<byte> ExtraData { get; init; }

    /// <summary>The id's bytes.</summary>
    public ReadOnlySpan<byte> Id { get; init; }

    /// <summary>The name's bytes.</summary>
    public ReadOnlySpan<byte> Name { get; init; }

    /// <summary>The VM state's size in bytes: the 64-bit field of the extra data if there is one, else the fixed field.</summary>
    public ulong VmStateSizeBytes => ExtraData.Length >= sizeof(ulong) ? ReadUInt64BigEndian(ExtraData) : VmStateSize32;

    /// <summary>The disk's size in bytes when it was taken; null when the extra data do not say.</summary>
    public ulong? DiskSizeBytes => ExtraData.Length >= 2 * sizeof(ulong) ? ReadUInt64BigEndian(ExtraData[sizeof(ulong)..]) : null;

    /// <summary>How many instructions the guest had executed; null when that was not counted.</summary>
    public ulong? InstructionCount =>
        ExtraData.Length >= KnownExtraDataBytes
            && ReadUInt64BigEndian(ExtraData[(2 * sizeof(ulong))..]) is not NoInstructionCount and ulong count
            ? count
            : null;

    /// <summary>The entry's size in bytes, including padding to a multiple of 8.</summary>
    public int SizeBytes => PaddedBytes(FixedBytes + ExtraData.Length + Id.Length + Name.Length);

    /// <summary>Adds the padding at an entry's end to its length in bytes.</summary>
    public static int PaddedBytes(int unpaddedBytes) => (unpaddedBytes + 7) & ~7;

    /// <summary>The length of an entry, from its fixed part, so that a reader can fetch all of it.</summary>
    /// <param name="fixedPart">At least <see cref="FixedBytes"/> bytes.</param>
    /// <returns>The length in bytes without padding; check the size of the extra data before relying on it.</returns>
    public static long UnpaddedBytes(ReadOnlySpan<byte> fixedPart) =>
        FixedBytes + ExtraDataBytes(fixedPart) + ReadUInt16BigEndian(fixedPart[IdSizeField..])
            + ReadUInt16BigEndian(fixedPart[NameSizeField..]);

    /// <summary>The size of an entry's extra data, from its fixed part.</summary>
    /// <param name="fixedPart">At least <see cref="FixedBytes"/> bytes.</param>
    public static long ExtraDataBytes(ReadOnlySpan<byte> fixedPart) => ReadUInt32BigEndian(fixedPart[ExtraDataSizeField..]);

    /// <summary>Reads an entry.</summary>
    /// <param name="source">The entry's bytes, up to the end of its name at least.</param>
    /// <param name="entry">The entry.</param>
    /// <returns>Whether the whole entry lies inside the source.</returns>
    public static bool TryRead(ReadOnlySpan<byte> source, out SnapshotEntry entry)
    {
        entry = default;
        if (source.Length < FixedBytes || UnpaddedBytes(source) > source.Length)
        {
            return false;
        }

        int idStart = FixedBytes + (int)ExtraDataBytes(source);
        int nameStart = idStart + ReadUInt16BigEndian(source[IdSizeField..]);
        entry = new SnapshotEntry
        {
            L1TableOffset = ReadUInt64BigEndian(source),
            L1Size = ReadUInt32BigEndian(source[L1SizeField..]),
            Seconds = ReadUInt32BigEndian(source[SecondsField..]),
            Nanoseconds = ReadUInt32BigEndian(source[NanosecondsField..]),
            VmClockNanoseconds = ReadUInt64BigEndian(source[VmClockField..]),
            VmStateSize32 = ReadUInt32BigEndian(source[VmStateSizeField..]),
            ExtraData = source[FixedBytes..idStart],
            Id = source[idStart..nameStart],
            Name = source.Slice(nameStart, ReadUInt16BigEndian(source[NameSizeField..])),
        };
        return true;
    }

    /// <summary>Writes the entry, its padding as zeros.</summary>
    /// <param name="destination">At least <see cref="SizeBytes"/> bytes.</param>
    /// <returns>The number of bytes written.</returns>
    /// <exception cref="ArgumentException">The destination is too short, or the id or the name longer than 65535 bytes.</exception>
    public int Write(Span<byte> destination)
    {
        int size = SizeBytes;
        if (destination.Length < size || Id.Length > ushort.MaxValue || Name.Length > ushort.MaxValue)
        {
            throw new ArgumentException(
                $"A snapshot of {size} bytes does not fit {destination.Length} bytes, or its id or name is too long.", nameof(destination));
        }

        destination[..size].Clear();
        WriteUInt64BigEndian(destination, L1TableOffset);
        WriteUInt32BigEndian(destination[L1SizeField..], L1Size);
        WriteUInt16BigEndian(destination[IdSizeField..], (ushort)Id.Length);
        WriteUInt16BigEndian(destination[NameSizeField..], (ushort)Name.Length);
        WriteUInt32BigEndian(destination[SecondsField..], Seconds);
        WriteUInt32BigEndian(destination[NanosecondsField..], Nanoseconds);
        WriteUInt64BigEndian(destination[VmClockField..], VmClockNanoseconds);
        WriteUInt32BigEndian(destination[VmStateSizeField..], VmStateSize32);
        WriteUInt32BigEndian(destination[ExtraDataSizeField..], (uint)ExtraData.Length);
        Span<byte> rest = destination[FixedBytes..];
        ExtraData.CopyTo(rest);
        Id.CopyTo(rest[ExtraData.Length..]);
        Name.CopyTo(rest[(ExtraData.Length + Id.Length)..]);
        return size;
    }
}
