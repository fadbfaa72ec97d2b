using System.Buffers.Binary;

namespace Qcow2Bitmaps.Tests.Compression;

/// <summary>Builds zstd frames piece by piece, right ones and wrong ones.</summary>
internal static class ZstdFrames
{
    /// <summary>All three codes of sequences are single symbols: no bits but the further ones.</summary>
    public const byte SingleCodes = 0b01_01_01_00;

    private const byte Window64KiB = 0x30;

    public static byte[] Magic => [0x28, 0xB5, 0x2F, 0xFD];

    /// <summary>A frame with a window of 64 KiB that does not tell its size.</summary>
    public static byte[] Frame(params byte[][] blocks) => FrameWith([0x00, Window64KiB], blocks);

    /// <summary>A frame with a header of one's own; the last block is marked as such.</summary>
    public static byte[] FrameWith(byte[] header, params byte[][] blocks)
    {
        blocks = [.. blocks.Select(static block => (byte[])block.Clone())];
        blocks[^1][0] |= 1;
        return Unfinished(header, blocks);
    }

    /// <summary>A frame without a last block.</summary>
    public static byte[] Unfinished(byte[] header, params byte[][] blocks) =>
        [.. Magic, .. header, .. blocks.SelectMany(static block => block)];

    /// <summary>A header of a single segment with the size in 1, 2, 4 or 8 bytes.</summary>
    public static byte[] SizedHeader(long contentBytes, int fieldBytes, bool checksum = false)
    {
        var size = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(size, fieldBytes == 2 ? contentBytes - 256 : contentBytes);
        int flag = fieldBytes switch { 1 => 0, 2 => 1, 4 => 2, _ => 3 };
        return [(byte)((flag << 6) | 0x20 | (checksum ? 4 : 0)), .. size[..fieldBytes]];
    }

    public static byte[] Skippable(int length) => [0x5A, 0x2A, 0x4D, 0x18, (byte)length, 0, 0, 0, .. new byte[length]];

    public static byte[] Block(int type, int size, params byte[] content)
    {
        int head = (size << 3) | (type << 1);
        return [(byte)(head & 0xff), (byte)((head >> 8) & 0xff), (byte)(head >> 16), .. content];
    }

    public static byte[] Raw(params byte[] content) => Block(0, content.Length, content);

    public static byte[] Repeated(byte value, int count) => Block(1, count, value);

    public static byte[] Compressed(byte[] literals, byte[] sequences) =>
        Block(2, literals.Length + sequences.Length, [.. literals, .. sequences]);

    public static byte[] RawLiterals(params byte[] literals) => [(byte)(literals.Length << 3), .. literals];

    public static byte[] RepeatedLiterals(byte value, int count) => [.. LittleEndian(1 | (3 << 2) | (count << 4), 3), value];

    /// <summary>Literals of one Huffman stream with its tree (type 2), or with the tree of an earlier block (type 3).</summary>
    public static byte[] Huffman(int count, byte[] treeAndStreams, int type = 2, int format = 0) =>
        [.. LittleEndian(type | (format << 2) | (count << 4) | (treeAndStreams.Length << 14), 3), .. treeAndStreams];

    /// <summary>The weights of a tree in four bits each.</summary>
    public static byte[] Weights(params int[] weights) =>
        [(byte)(127 + weights.Length), .. weights.Chunk(2).Select(static pair => (byte)((pair[0] << 4) | (pair.Length > 1 ? pair[1] : 0)))];

    public static byte[] NoSequences() => [0];

    /// <summary>A sequences section of single codes.</summary>
    public static byte[] Sequences(int count, int literalsLengthCode, int offsetCode, int matchLengthCode, params byte[] stream) =>
        [(byte)count, SingleCodes, (byte)literalsLengthCode, (byte)offsetCode, (byte)matchLengthCode, .. stream];

    /// <summary>A stream that is read from its end: values with their numbers of bits, in the order of reading.</summary>
    public static byte[] Backward(params (int Value, int Bits)[] fields)
    {
        string bits = "1"
            + string.Concat(
                fields.Select(static field => field.Bits == 0 ? "" : Convert.ToString(field.Value, 2).PadLeft(field.Bits, '0')));
        bits = bits.PadLeft((bits.Length + 7) / 8 * 8, '0');
        return [.. bits.Chunk(8).Select(static octet => Convert.ToByte(new string(octet), 2)).Reverse()];
    }

    private static byte[] LittleEndian(int value, int length) =>
        [.. Enumerable.Range(0, length).Select(i => (byte)((value >> (8 * i)) & 0xff))];
}
