using System.Buffers.Binary;
using ZstdSharp;
using ZstdSharp.Unsafe;

namespace Qcow2Bitmaps.Compression;

// Decisions: docs/decisions/compression.md.
/// <summary>Decodes zstd clusters (RFC 8878) as QEMU does: frame after frame until the cluster is full.</summary>
/// <remarks>
/// The frame that fills the cluster must end there, including its checksum if it has one: QEMU, too, checks that the frame is complete once
/// the cluster is full. Data after that frame are ignored. Dictionaries are refused: qcow2 has none. The end of a frame and the size of its
/// window are checked here; ZstdSharp.Port, which is libzstd in C#, decodes the content.
/// </remarks>
internal sealed class ZstdDecoder : IClusterDecoder, IDisposable
{
    private const uint FrameMagic = 0xFD2FB528;
    private const uint SkippableMagic = 0x184D2A50;
    private const uint SkippableMask = 0xFFFFFFF0;
    private const int MagicBytes = 4;
    private const int SkippableHeaderBytes = 8;
    private const int BlockHeaderBytes = 3;
    private const int ChecksumBytes = 4;

    private readonly Decompressor _decompressor = new();

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

    /// <inheritdoc/>
    public void Dispose() => _decompressor.Dispose();

    private CompressionFault DecodeFrame(ReadOnlySpan<byte> input, Span<byte> output, out int taken, out int made)
    {
        made = 0;
        taken = 0;
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
        if (fault == CompressionFault.None && header.ContentBytes > (ulong)output.Length)
        {
            fault = CompressionFault.TooLong;
        }

        if (fault == CompressionFault.None)
        {
            fault = FindEnd(input, header, out taken);
        }

        return fault == CompressionFault.None ? DecodeContent(input[..taken], output, out made) : fault;
    }

    private CompressionFault DecodeContent(ReadOnlySpan<byte> frame, Span<byte> output, out int made)
    {
        made = 0;
        try
        {
            made = _decompressor.Unwrap(frame, output);
            return CompressionFault.None;
        }
        catch (ZstdException e)
        {
            return e.Code switch
            {
                ZSTD_ErrorCode.ZSTD_error_dstSize_tooSmall => CompressionFault.TooLong,
                ZSTD_ErrorCode.ZSTD_error_checksum_wrong => CompressionFault.ZstdChecksum,
                _ => CompressionFault.ZstdContent,
            };
        }
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

    /// <summary>Skips from block header to block header: the decoder needs exactly one frame, without trailing data.</summary>
    private static CompressionFault FindEnd(ReadOnlySpan<byte> input, ZstdFrameHeader header, out int end)
    {
        end = MagicBytes + header.LengthBytes;
        bool isLast;
        do
        {
            if (input.Length - end < BlockHeaderBytes)
            {
                return CompressionFault.Truncated;
            }

            int head = input[end] | (input[end + 1] << 8) | (input[end + 2] << 16);
            isLast = (head & 1) != 0;
            int type = (head >> 1) & 3;
            int size = head >> 3;
            if (type == 3)
            {
                return CompressionFault.ZstdBlockType;
            }

            if (size > header.MaxBlockBytes)
            {
                return CompressionFault.ZstdBlockSize;
            }

            // A block of type 1 is one byte, repeated.
            end += BlockHeaderBytes + (type == 1 ? 1 : size);
        }
        while (!isLast && end <= input.Length);
        end += header.HasChecksum ? ChecksumBytes : 0;
        return end <= input.Length ? CompressionFault.None : CompressionFault.Truncated;
    }
}
