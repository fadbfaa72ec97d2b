using Qcow2Bitmaps.Format;

using static System.Buffers.Binary.BinaryPrimitives;

namespace Qcow2Bitmaps;

/// <summary>The unencrypted contents of the LUKS1 header inside an image. Nothing here needs or holds a key.</summary>
/// <remarks>Source: LUKS On-Disk Format Specification 1.1, section 3. Immutable and safe to share between threads.</remarks>
public sealed record LuksHeader
{
    /// <summary>Bytes of the header.</summary>
    internal const int SizeBytes = SlotsField + (SlotCount * SlotBytes);

    /// <summary>The number of key slots.</summary>
    internal const int SlotCount = 8;

    private const int VersionField = 6;
    private const int CipherNameField = VersionField + sizeof(ushort);
    private const int CipherModeField = CipherNameField + NameBytes;
    private const int HashField = CipherModeField + NameBytes;
    private const int PayloadOffsetField = HashField + NameBytes;
    private const int KeyBytesField = PayloadOffsetField + sizeof(uint);
    private const int MasterKeyIterationsField = KeyBytesField + sizeof(uint) + DigestBytes + SaltBytes;
    private const int UuidField = MasterKeyIterationsField + sizeof(uint);
    private const int SlotsField = UuidField + UuidBytes;
    private const int SlotBytes = 4 * sizeof(uint) + SaltBytes;
    private const int SlotIterationsField = sizeof(uint);
    private const int SlotKeyOffsetField = SlotIterationsField + sizeof(uint) + SaltBytes;
    private const int SlotStripesField = SlotKeyOffsetField + sizeof(uint);
    private const int NameBytes = 32;
    private const int DigestBytes = 20;
    private const int SaltBytes = 32;
    private const int UuidBytes = 40;
    private const uint ActiveSlot = 0x00AC71F3;
    private const int SectorBytes = 512;

    private static ReadOnlySpan<byte> Magic => [(byte)'L', (byte)'U', (byte)'K', (byte)'S', 0xba, 0xbe];

    internal LuksHeader()
    {
    }

    /// <summary>The cipher, for example <c>aes</c>.</summary>
    public required string CipherName { get; init; }

    /// <summary>The chaining mode and the generator of initialisation vectors, for example <c>xts-plain64</c>.</summary>
    public required string CipherMode { get; init; }

    /// <summary>The hash, for example <c>sha256</c>.</summary>
    public required string Hash { get; init; }

    /// <summary>The length of the master key in bytes.</summary>
    public required uint KeyBytes { get; init; }

    /// <summary>The iterations of the master key's digest.</summary>
    public required uint MasterKeyIterations { get; init; }

    /// <summary>The volume's UUID.</summary>
    public required string Uuid { get; init; }

    /// <summary>Where the payload starts, in bytes from the start of the LUKS header.</summary>
    public required long PayloadOffsetBytes { get; init; }

    /// <summary>The key slots: 8.</summary>
    public required IReadOnlyList<LuksKeySlot> Slots { get; init; }

    /// <summary>Reads a header.</summary>
    /// <param name="source">At least <see cref="SizeBytes"/> bytes.</param>
    /// <param name="offset">The header's offset in the file, for messages.</param>
    /// <param name="header">The header.</param>
    /// <param name="fault">Why it cannot be read.</param>
    /// <returns>Whether it is a LUKS1 header.</returns>
    internal static bool TryRead(ReadOnlySpan<byte> source, ulong offset, out LuksHeader? header, out FormatFault? fault)
    {
        header = null;
        if (source.Length < SizeBytes || !source.StartsWith(Magic))
        {
            fault = Faults.Of(
                FaultCode.LuksHeader, "LUKS header", "bytes that start like one", offset, source.Length,
                $"{SizeBytes} bytes that start with 'LUKS' ba be");
            return false;
        }

        ushort version = ReadUInt16BigEndian(source[VersionField..]);
        if (version != 1)
        {
            fault = Faults.Of(FaultCode.LuksHeader, "LUKS header", "version", offset + VersionField, version, "1");
            return false;
        }

        var slots = new LuksKeySlot[SlotCount];
        for (int i = 0; i < SlotCount; i++)
        {
            ReadOnlySpan<byte> slot = source.Slice(SlotsField + (i * SlotBytes), SlotBytes);
            slots[i] = new LuksKeySlot
            {
                IsActive = ReadUInt32BigEndian(slot) == ActiveSlot,
                Iterations = ReadUInt32BigEndian(slot[SlotIterationsField..]),
                Stripes = ReadUInt32BigEndian(slot[SlotStripesField..]),
                KeyOffsetBytes = (long)ReadUInt32BigEndian(slot[SlotKeyOffsetField..]) * SectorBytes,
            };
        }

        header = new LuksHeader
        {
            CipherName = ImageText.DecodeUpToNul(source.Slice(CipherNameField, NameBytes)),
            CipherMode = ImageText.DecodeUpToNul(source.Slice(CipherModeField, NameBytes)),
            Hash = ImageText.DecodeUpToNul(source.Slice(HashField, NameBytes)),
            KeyBytes = ReadUInt32BigEndian(source[KeyBytesField..]),
            MasterKeyIterations = ReadUInt32BigEndian(source[MasterKeyIterationsField..]),
            Uuid = ImageText.DecodeUpToNul(source.Slice(UuidField, UuidBytes)),
            PayloadOffsetBytes = (long)ReadUInt32BigEndian(source[PayloadOffsetField..]) * SectorBytes,
            Slots = slots,
        };
        fault = null;
        return true;
    }
}
