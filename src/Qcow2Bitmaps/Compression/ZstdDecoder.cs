using System.Buffers.Binary;
using System.IO.Hashing;

namespace Qcow2Bitmaps.Compression;

// Decisions: docs/decisions/compression.md.
/// <summary>Decodes zstd clusters (RFC 8878) as QEMU does: frame after frame until the cluster is full.</summary>
/// <remarks>
/// The frame that fills the cluster must end with it, its checksum included, if it has one: as QEMU does, which asks whether the frame is
/// complete once the cluster is full. What follows that frame is not looked at. Dictionaries are refused: qcow2 has none. Distances are
/// held to the frame's start, not to its window, which is what QEMU's library does when it has all of a frame.
/// </remarks>
internal sealed class ZstdDecoder : IClusterDecoder
{
    private const uint FrameMagic = 0xFD2FB528;
    private const uint SkippableMagic = 0x184D2A50;
    private const uint SkippableMask = 0xFFFFFFF0;
    private const int MagicBytes = 4;
    private const int SkippableHeaderBytes = 8;
    private const int BlockHeaderBytes = 3;
    private const int ChecksumBytes = 4;

    private readonly ZstdLiterals _literals = new();
    private readonly ZstdSequences _sequences = new();

    /// <inheritdoc/>
    public bool TryDecode(ReadOnlySpan<byte> compressed, Span<byte> cluster, out CompressionFault fault)
    {
        fault = CompressionFault.None;
        int position = 0;
        int made = 0;
        while (made < cluster.Length && fault == CompressionFault.None)
        {
            // Each frame takes at least the four bytes of its magic number.
            fault = DecodeFrame(compressed[position..], cluster[made..], out int taken, out int frameBytes);
            position += taken;
            made += frameBytes;
        }

        return fault == CompressionFault.None;
    }

    private CompressionFault DecodeFrame(ReadOnlySpan<byte> input, Span<byte> output, out int taken, out int made)
    {
        taken = 0;
        made = 0;
        if (input.Length < MagicBytes)
        {
            return CompressionFault.Truncated;
        }

        uint magic = BinaryPrimitives.ReadUInt32LittleEndian(input);
        if ((magic & SkippableMask) == SkippableMagic)
        {
            return Skip(input, out taken);
        }

        if (magic != FrameMagic)
        {
            return CompressionFault.ZstdMagic;
        }

        CompressionFault fault = ZstdFrameHeader.Read(input[MagicBytes..], out ZstdFrameHeader header);
        if (fault != CompressionFault.None)
        {
            return fault;
        }

        if (header.ContentBytes > (ulong)output.Length)
        {
            return CompressionFault.TooLong;
        }

        taken = MagicBytes + header.LengthBytes;
        fault = DecodeBlocks(input, output, header.MaxBlockBytes, ref taken, ref made);
        if (fault != CompressionFault.None)
        {
            return fault;
        }

        if (header.ContentBytes is { } stated && stated != (ulong)made)
        {
            return CompressionFault.ZstdContentSize;
        }

        return header.HasChecksum ? CheckSum(input, output[..made], ref taken) : CompressionFault.None;
    }

    private static CompressionFault Skip(ReadOnlySpan<byte> input, out int taken)
    {
        taken = 0;
        if (input.Length < SkippableHeaderBytes)
        {
            return CompressionFault.Truncated;
        }

        uint length = BinaryPrimitives.ReadUInt32LittleEndian(input[MagicBytes..]);
        if (length > (uint)(input.Length - SkippableHeaderBytes))
        {
            return CompressionFault.Truncated;
        }

        taken = SkippableHeaderBytes + (int)length;
        return CompressionFault.None;
    }

    private static CompressionFault CheckSum(ReadOnlySpan<byte> input, ReadOnlySpan<byte> content, ref int taken)
    {
        if (input.Length - taken < ChecksumBytes)
        {
            return CompressionFault.Truncated;
        }

        uint stored = BinaryPrimitives.ReadUInt32LittleEndian(input[taken..]);
        taken += ChecksumBytes;
        return stored == unchecked((uint)XxHash64.HashToUInt64(content)) ? CompressionFault.None : CompressionFault.ZstdChecksum;
    }

    private CompressionFault DecodeBlocks(ReadOnlySpan<byte> input, Span<byte> output, int maxBlockBytes, ref int taken, ref int made)
    {
        _literals.StartFrame();
        _sequences.StartFrame();
        bool isLast;
        do
        {
            if (input.Length - taken < BlockHeaderBytes)
            {
                return CompressionFault.Truncated;
            }

            int head = input[taken] | (input[taken + 1] << 8) | (input[taken + 2] << 16);
            taken += BlockHeaderBytes;
            isLast = (head & 1) != 0;
            int size = head >> 3;
            if (size > maxBlockBytes)
            {
                return CompressionFault.ZstdBlockSize;
            }

            CompressionFault fault = ((head >> 1) & 3) switch
            {
                0 => CopyRaw(input, output, size, ref taken, ref made),
                1 => Repeat(input, output, size, ref taken, ref made),
                2 => DecodeCompressed(input, output, size, maxBlockBytes, ref taken, ref made),
                _ => CompressionFault.ZstdBlockType,
            };
            if (fault != CompressionFault.None)
            {
                return fault;
            }
        }
        while (!isLast);
        return CompressionFault.None;
    }

    private static CompressionFault CopyRaw(ReadOnlySpan<byte> input, Span<byte> output, int size, ref int taken, ref int made)
    {
        if (size > input.Length - taken)
        {
            return CompressionFault.Truncated;
        }

        if (size > output.Length - made)
        {
            return CompressionFault.TooLong;
        }

        input.Slice(taken, size).CopyTo(output[made..]);
        taken += size;
        made += size;
        return CompressionFault.None;
    }

    private static CompressionFault Repeat(ReadOnlySpan<byte> input, Span<byte> output, int size, ref int taken, ref int made)
    {
        if (taken >= input.Length)
        {
            return CompressionFault.Truncated;
        }

        if (size > output.Length - made)
        {
            return CompressionFault.TooLong;
        }

        output.Slice(made, size).Fill(input[taken++]);
        made += size;
        return CompressionFault.None;
    }

    private CompressionFault DecodeCompressed(
        ReadOnlySpan<byte> input, Span<byte> output, int size, int maxBlockBytes, ref int taken, ref int made)
    {
        if (size > input.Length - taken)
        {
            return CompressionFault.Truncated;
        }

        int end = taken + size;
        int blockEnd = Math.Min(output.Length, made + maxBlockBytes);
        CompressionFault tooMuch = blockEnd == output.Length ? CompressionFault.TooLong : CompressionFault.ZstdBlockSize;
        CompressionFault fault = _literals.Read(input, ref taken, end, blockEnd - made, tooMuch);
        if (fault == CompressionFault.None)
        {
            fault = _sequences.Execute(input, taken, end, _literals.Padded(input), _literals.Count, output, ref made, blockEnd, tooMuch);
        }

        taken = end;
        return fault;
    }
}
