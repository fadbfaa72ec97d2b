using System.Buffers.Binary;

namespace Qcow2Bitmaps.Compression;

/// <summary>The header of a zstd frame, after its magic bytes. RFC 8878, 3.1.1.1.</summary>
/// <param name="LengthBytes">How long the header is.</param>
/// <param name="HasChecksum">Whether four bytes of checksum follow the last block.</param>
/// <param name="ContentBytes">The size of the frame's content; null if not stated.</param>
/// <param name="MaxBlockBytes">The largest block, compressed or decompressed.</param>
internal readonly record struct ZstdFrameHeader(int LengthBytes, bool HasChecksum, ulong? ContentBytes, int MaxBlockBytes)
{
    /// <summary>The largest decompressed block of any frame.</summary>
    public const int BlockLimitBytes = 128 << 10;

    private const int SingleSegmentBit = 1 << 5;
    private const int ReservedBit = 1 << 3;
    private const int ChecksumBit = 1 << 2;

    // The default of QEMU's library; if the content's size is known, the window costs nothing, and only its exponent counts.
    private const ulong WindowLimitBytes = 128UL << 20;
    private const ulong SizedWindowLimitBytes = uint.MaxValue;

    /// <summary>Reads a header and checks it.</summary>
    /// <param name="input">Where the header starts.</param>
    /// <param name="header">The header.</param>
    /// <returns>What is wrong, or <see cref="CompressionFault.None"/>.</returns>
    public static CompressionFault Read(ReadOnlySpan<byte> input, out ZstdFrameHeader header)
    {
        header = default;
        if (input.IsEmpty)
        {
            return CompressionFault.Truncated;
        }

        int descriptor = input[0];
        bool isSingleSegment = (descriptor & SingleSegmentBit) != 0;
        int contentSizeFlag = descriptor >> 6;
        int windowLength = isSingleSegment ? 0 : 1;
        int dictionaryLength = (1 << (descriptor & 3)) >> 1;
        int contentSizeLength = contentSizeFlag == 0 && !isSingleSegment ? 0 : 1 << contentSizeFlag;
        int length = 1 + windowLength + dictionaryLength + contentSizeLength;
        if ((descriptor & ReservedBit) != 0)
        {
            return CompressionFault.ZstdReservedBit;
        }

        if (input.Length < length)
        {
            return CompressionFault.Truncated;
        }

        if (ReadLittleEndian(input.Slice(1 + windowLength, dictionaryLength)) != 0)
        {
            return CompressionFault.ZstdDictionary;
        }

        ulong? content = contentSizeLength == 0 ? null : ReadLittleEndian(input.Slice(length - contentSizeLength, contentSizeLength));
        if (contentSizeLength == 2)
        {
            content += 256;
        }

        ulong window = isSingleSegment ? content.GetValueOrDefault() : WindowBytes(input[1]);
        header = new ZstdFrameHeader(length, (descriptor & ChecksumBit) != 0, content, (int)Math.Min(window, BlockLimitBytes));
        return !isSingleSegment && window > (content is null ? WindowLimitBytes : SizedWindowLimitBytes)
            ? CompressionFault.ZstdWindow
            : CompressionFault.None;
    }

    private static ulong WindowBytes(byte descriptor)
    {
        ulong power = 1UL << (10 + (descriptor >> 3));
        return power + (power / 8 * (descriptor & 7u));
    }

    private static ulong ReadLittleEndian(ReadOnlySpan<byte> bytes)
    {
        Span<byte> word = stackalloc byte[sizeof(ulong)];
        word.Clear();
        bytes.CopyTo(word);
        return BinaryPrimitives.ReadUInt64LittleEndian(word);
    }
}
