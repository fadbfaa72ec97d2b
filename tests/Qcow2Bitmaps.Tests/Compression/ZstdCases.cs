using Qcow2Bitmaps.Compression;
using static Qcow2Bitmaps.Tests.Compression.ZstdFrames;

namespace Qcow2Bitmaps.Tests.Compression;

/// <summary>Frames built by hand: each variant that RFC 8878 allows, and each of its limits.</summary>
internal static class ZstdCases
{
    private const byte Window1KiB = 0;
    private const byte Window128MiB = 0x88;

    // "abc", then three bytes from three bytes back: an offset code of 2 means 4, 5, 6 or 7, less 3.
    private static readonly byte[] s_abcLiterals = RawLiterals("abc"u8.ToArray());
    private static readonly byte[] s_copyThree = Sequences(1, 3, 2, 0, Backward((2, 2)));

    // Symbols 0 and 1 in one bit each.
    private static readonly byte[] s_bitTree = Weights(1);
    private static readonly byte[] s_bits = Backward((0, 1), (1, 1), (1, 1), (0, 1));

    public static IEnumerable<ZstdCase> All =>
        [.. GoodCases(), .. FramesCases(), .. BlocksCases(), .. LiteralsCases(), .. SequencesCases()];

    private static IEnumerable<ZstdCase> GoodCases() =>
    [
        new("repeated byte", Frame(Rest(0))),
        new("raw block", Frame(Raw(1, 2, 3), Rest(3))),
        new("sequence", Frame(Compressed(s_abcLiterals, s_copyThree), Rest(6))),
        new("sequence at the very end", Frame(Repeated(7, ZstdCase.ClusterBytes - 6), Compressed(s_abcLiterals, s_copyThree))),
        new("repeated literals", Frame(Compressed(RepeatedLiterals(5, 1000), NoSequences()), Rest(1000))),
        new("Huffman", Frame(Compressed(Huffman(4, [.. s_bitTree, .. s_bits]), NoSequences()), Rest(4))),
        new("Huffman, tree used again", Frame(
            Compressed(Huffman(4, [.. s_bitTree, .. s_bits]), NoSequences()), Compressed(Huffman(4, s_bits, type: 3), NoSequences()),
            Rest(8))),
        new("Huffman, four streams", Frame(
            Compressed(Huffman(16, [.. s_bitTree, 1, 0, 1, 0, 1, 0, .. s_bits, .. s_bits, .. s_bits, .. s_bits], format: 1), NoSequences()),
            Rest(16))),
        new("count of sequences in two bytes", Frame(Compressed(s_abcLiterals, [0x80, .. s_copyThree]), Rest(6))),
        new("tables used again", Frame(
            Compressed(s_abcLiterals, s_copyThree), Compressed(s_abcLiterals, [1, 0xFC, .. Backward((2, 2))]), Rest(12))),
        new("last offset", Frame(Compressed(RawLiterals(1, 2), Sequences(1, 2, 0, 0, Backward())), Rest(5))),
        new("second offset, as there are no literals", Frame(
            Raw(1, 2, 3, 4, 5, 6), Compressed(RawLiterals(), Sequences(1, 0, 0, 0, Backward())), Rest(9))),
        new("third offset", Frame(Raw(1, 2, 3, 4, 5, 6, 7), Compressed(RawLiterals(8), Sequences(1, 1, 1, 0, Backward((1, 1)))), Rest(11))),
        new("first offset less one", Frame(
            Raw(1, 2, 3, 4, 5, 6, 7), Compressed(RawLiterals(8), Sequences(1, 1, 2, 0, Backward((2, 2)))),
            Compressed(RawLiterals(), Sequences(1, 0, 1, 0, Backward((1, 1)))), Rest(14))),
        new("every size of the content's size", [
            .. FrameWith(SizedHeader(200, 1), Repeated(1, 200)), .. FrameWith(SizedHeader(300, 2), Repeated(2, 300)),
            .. FrameWith(SizedHeader(1000, 4), Repeated(3, 1000)), .. FrameWith(SizedHeader(2596, 8), Repeated(4, 2596))]),
        new("skippable and empty frames", [
            .. Skippable(0), .. Frame(Repeated(1, 100)), .. Skippable(33), .. Frame(Raw()), .. Frame(Rest(100))]),
        new("dictionary 0 in one byte", FrameWith([0x01, 0x30, 0], Rest(0))),
        new("dictionary 0 in four bytes", FrameWith([0x03, 0x30, 0, 0, 0, 0], Rest(0))),
        new("unused bit", FrameWith([0x10, 0x30], Rest(0))),
        new("an empty last block", Frame(Rest(0), Raw())),
        new("garbage behind", [.. Frame(Rest(0)), .. "garbage"u8]),
        new("window of 128 MiB", FrameWith([0x00, Window128MiB], Rest(0))),
        new("window of 3.75 GiB with a size", FrameWith([0x80, 0xAF, 0, 16, 0, 0], Rest(0))),
    ];

    private static IEnumerable<ZstdCase> FramesCases() =>
    [
        new("nothing", [], CompressionFault.Truncated),
        new("zeros", new byte[600], CompressionFault.ZstdMagic),
        new("reserved bit", FrameWith([0x08, 0x30], Rest(0)), CompressionFault.ZstdReservedBit),
        new("dictionary", FrameWith([0x01, 0x30, 9], Rest(0)), CompressionFault.ZstdDictionary),
        new("window above 128 MiB", FrameWith([0x00, Window128MiB + 1], Rest(0)), CompressionFault.ZstdWindow),
        new("window of 2^41", FrameWith([0x00, 0xF8], Rest(0)), CompressionFault.ZstdWindow),
        new("window of 2^41 with a size", FrameWith([0x80, 0xF8, 0, 16, 0, 0], Rest(0)), CompressionFault.ZstdWindow),
        new("size below what it holds", FrameWith([0x80, 0x30, 0xFF, 0x0F, 0, 0], Rest(0)), CompressionFault.ZstdContent),
        new("size above what it holds", FrameWith(SizedHeader(4096, 4), Rest(1)), CompressionFault.ZstdContent),
        new("size above the cluster", FrameWith(SizedHeader(4097, 4), Rest(0)), CompressionFault.TooLong),
        new("size of 2^64 - 1", FrameWith(SizedHeader(-1, 8), Rest(0)), CompressionFault.TooLong),
        new("wrong checksum", [.. FrameWith([0x04, 0x30], Rest(0)), 1, 2, 3, 4], CompressionFault.ZstdChecksum),
        new("one byte too many", Frame(Rest(0), Raw(1)), CompressionFault.TooLong),
        new("one byte too many in a second frame", [.. Frame(Rest(9)), .. Frame(Repeated(1, 10))], CompressionFault.TooLong),
        new("one byte too few", Frame(Rest(1)), CompressionFault.ZstdMagic),
        new("no last block", Unfinished([0x00, 0x30], Rest(0)), CompressionFault.Truncated),
        new(
            "skippable frame with more than there is", [0x50, 0x2A, 0x4D, 0x18, 255, 255, 255, 255, .. new byte[20]],
            CompressionFault.Truncated),
        new("skippable frames only", [.. Skippable(200), .. Skippable(200)], CompressionFault.ZstdMagic),
    ];

    private static IEnumerable<ZstdCase> BlocksCases() =>
    [
        new("reserved block type", Frame(Block(3, 1, 1), Rest(0)), CompressionFault.ZstdBlockType),
        new("block over 128 KiB", FrameWith([0x00, Window128MiB], Block(1, (128 << 10) + 1, 1)), CompressionFault.ZstdBlockSize),
        new("block over the window", FrameWith([0x00, Window1KiB], Raw(new byte[1025]), Rest(1025)), CompressionFault.ZstdBlockSize),
        new("repeated byte over the window", FrameWith([0x00, Window1KiB], Rest(0)), CompressionFault.ZstdBlockSize),
        // QEMU's library decodes to the cluster itself where it can, and then has no window to fill.
        new("literals over the window", FrameWith([0x00, Window1KiB], Compressed(RepeatedLiterals(1, 1025), NoSequences()), Raw(1)),
            CompressionFault.ZstdContent, QemuMayDiffer: true),
        new(
            "match over the window",
            FrameWith([0x00, Window1KiB], Compressed(s_abcLiterals, Sequences(1, 3, 2, 46, Backward((2, 2), (9, 10)))), Raw(1)),
            CompressionFault.ZstdMagic, QemuMayDiffer: true),
        new("block of more bytes than there are", Frame(Block(0, 4096, new byte[100])), CompressionFault.Truncated),
        // QEMU's library skips it where it reads block by block.
        new("compressed block of nothing", Frame(Block(2, 0), Rest(0)), CompressionFault.ZstdContent, QemuMayDiffer: true),
    ];

    private static IEnumerable<ZstdCase> LiteralsCases() =>
    [
        OfLiterals("raw literals past the block", [0x20, 1, 2], CompressionFault.ZstdContent, sequences: []),
        OfLiterals("repeated literals without the byte", [0x21], CompressionFault.ZstdContent, sequences: []),
        OfLiterals("header of literals past the block", [0x0C], CompressionFault.ZstdContent, sequences: []),
        OfLiterals("more literals than room", RepeatedLiterals(1, 5000), CompressionFault.TooLong),
        OfLiterals("streams past the block", [0x42, 0, 3, 0x80], CompressionFault.ZstdContent, sequences: []),
        OfLiterals("tree of an earlier block that is not there", Huffman(4, s_bits, type: 3), CompressionFault.ZstdContent),
        OfLiterals("tree without weights", Huffman(4, [.. Weights(0, 0), .. s_bits]), CompressionFault.ZstdContent),
        OfLiterals("weights short of a power of two", Huffman(4, [.. Weights(3, 1), .. s_bits]), CompressionFault.ZstdContent),
        OfLiterals("weights without a one", Huffman(4, [.. Weights(2), .. s_bits]), CompressionFault.ZstdContent),
        OfLiterals("weight above 11", Huffman(4, [.. Weights(13, 1), .. s_bits]), CompressionFault.ZstdContent),
        // QEMU's library allows 12 bits.
        OfLiterals("tree of 12 bits", Huffman(4, [.. Weights(11, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1), .. s_bits]),
            CompressionFault.ZstdContent, qemuMayDiffer: true),
        OfLiterals("weights past the streams", Huffman(4, [255, 0x11]), CompressionFault.ZstdContent),
        OfLiterals("compressed weights of accuracy 7", Huffman(4, [4, 0x02, 1, 1, 1, .. s_bits]), CompressionFault.ZstdContent),
        OfLiterals("compressed weights of nothing", Huffman(4, [0, .. s_bits]), CompressionFault.ZstdContent),
        OfLiterals("Huffman stream without its final bit", Huffman(4, [.. s_bitTree, 0x16, 0]), CompressionFault.ZstdContent),
        OfLiterals("Huffman stream of nothing", Huffman(4, s_bitTree), CompressionFault.ZstdContent),
        OfLiterals("stream of fewer literals", Huffman(5, [.. s_bitTree, .. s_bits]), CompressionFault.ZstdContent),
        OfLiterals("stream of more literals", Huffman(3, [.. s_bitTree, .. s_bits]), CompressionFault.ZstdContent),
        OfLiterals(
            "four streams for one literal", Huffman(1, [.. s_bitTree, 1, 0, 1, 0, 1, 0, 3, 1, 1, 1], format: 1),
            CompressionFault.ZstdContent),
        OfLiterals(
            "four streams past the section", Huffman(16, [.. s_bitTree, 1, 0, 200, 0, 1, 0, .. s_bits, .. s_bits, .. s_bits], format: 1),
            CompressionFault.ZstdContent),
        OfLiterals("three streams for four", Huffman(16, [.. s_bitTree, 1, 0, 1, 0, 1, 0, .. s_bits, .. s_bits, .. s_bits], format: 1),
            CompressionFault.ZstdContent),
    ];

    private static IEnumerable<ZstdCase> SequencesCases() =>
    [
        OfSequences("no sequences section", [], CompressionFault.ZstdContent),
        OfSequences("bytes behind no sequences", [0, 1], CompressionFault.ZstdContent),
        OfSequences("count past the block", [0xFF, 1], CompressionFault.ZstdContent),
        OfSequences("no modes", [1], CompressionFault.ZstdContent),
        OfSequences(
            "reserved bits of modes", [1, SingleCodes | 1, 3, 2, 0, .. Backward((2, 2))], CompressionFault.ZstdContent,
            qemuMayDiffer: true),
        OfSequences("literals lengths of an earlier block", [1, 0b11_01_01_00, 2, 0, .. Backward((2, 2))], CompressionFault.ZstdContent),
        OfSequences("offsets of an earlier block", [1, 0b01_11_01_00, 3, 0, .. Backward((2, 2))], CompressionFault.ZstdContent),
        OfSequences("match lengths of an earlier block", [1, 0b01_01_11_00, 3, 2, .. Backward((2, 2))], CompressionFault.ZstdContent),
        OfSequences("literals length code 36", Sequences(1, 36, 2, 0, Backward((2, 2))), CompressionFault.ZstdContent),
        OfSequences("offset code 32", Sequences(1, 3, 32, 0, Backward((2, 2))), CompressionFault.ZstdContent),
        OfSequences("match length code 53", Sequences(1, 3, 2, 53, Backward((2, 2))), CompressionFault.ZstdContent),
        OfSequences("literals lengths of accuracy 10", [1, 0b10_00_00_00, 0x05, 1, 1, 1, 1], CompressionFault.ZstdContent),
        OfSequences("offsets of accuracy 9", [1, 0b00_10_00_00, 0x04, 1, 1, 1, 1], CompressionFault.ZstdContent),
        OfSequences("match lengths of accuracy 10", [1, 0b00_00_10_00, 0x05, 1, 1, 1, 1], CompressionFault.ZstdContent),
        // Five bits 00001 are a probability of zero, and pairs of bits 11 say that three more follow: more symbols than there are.
        OfSequences("too many symbols", [1, 0b10_00_00_00, 0x10, 0xFE, 255, 255, 255, 255, 255, 255], CompressionFault.ZstdContent),
        OfSequences("probabilities past the block", [1, 0b10_00_00_00, 0x00], CompressionFault.ZstdContent),
        OfSequences("stream of nothing", Sequences(1, 3, 2, 0), CompressionFault.ZstdContent),
        OfSequences("stream without its final bit", Sequences(1, 3, 2, 0, 6, 0), CompressionFault.ZstdContent),
        OfSequences(
            "stream with a bit too many", Sequences(1, 3, 2, 0, Backward((2, 2), (0, 1))), CompressionFault.ZstdContent,
            qemuMayDiffer: true),
        OfSequences(
            "stream with bits too few", Sequences(2, 1, 2, 0, Backward((0, 2), (0, 1))), CompressionFault.ZstdContent,
            qemuMayDiffer: true),
        OfSequences("states past the stream", [1, 0, 1], CompressionFault.ZstdContent),
        OfSequences("more literals than there are", Sequences(1, 4, 2, 0, Backward((2, 2))), CompressionFault.ZstdContent),
        OfSequences("offset before the start", Sequences(1, 3, 2, 0, Backward((3, 2))), CompressionFault.ZstdContent),
        OfSequences(
            "offset of 31 bits", Sequences(2, 1, 31, 52, Backward((5, 31), (6, 16), (7, 31), (8, 16))), CompressionFault.TooLong),
        OfSequences(
            "offset of 31 bits, lengths of 16", Sequences(1, 35, 31, 52, Backward((5, 31), (6, 16), (1, 16))),
            CompressionFault.TooLong),
        // Some versions of QEMU's library take an offset of zero for one.
        OfSequences("offset of zero", Sequences(1, 0, 1, 0, Backward((1, 1))), CompressionFault.ZstdContent, qemuMayDiffer: true),
        OfSequences("match past the cluster", Sequences(1, 3, 2, 52, Backward((2, 2), (0, 16))), CompressionFault.TooLong),
        OfSequences(
            "as many sequences as there can be", [0xFF, 0xFF, 0xFF, SingleCodes, 0, 2, 0, .. Backward((2, 2))],
            CompressionFault.ZstdContent),
        new(
            "offset into the frame before",
            [.. Frame(Repeated(1, 100)), .. Frame(Compressed(s_abcLiterals, Sequences(1, 3, 2, 0, Backward((3, 2)))), Rest(106))],
            CompressionFault.ZstdContent),
        new("literals behind the last sequence past the cluster", Frame(
            Repeated(1, 4090), Compressed(RawLiterals("abcdefgh"u8.ToArray()), s_copyThree)), CompressionFault.TooLong),
        new("tables of the frame before", [
            .. Frame(Compressed(s_abcLiterals, s_copyThree)),
            .. Frame(Compressed(s_abcLiterals, [1, 0xFC, .. Backward((2, 2))]), Rest(12))],
            CompressionFault.ZstdContent),
        new("tree of the frame before", [
            .. Frame(Compressed(Huffman(4, [.. s_bitTree, .. s_bits]), NoSequences())),
            .. Frame(Compressed(Huffman(4, s_bits, type: 3), NoSequences()), Rest(8))], CompressionFault.ZstdContent),
    ];

    /// <summary>A block that makes the cluster's bytes behind those that are there.</summary>
    private static byte[] Rest(int there) => Repeated((byte)'x', ZstdCase.ClusterBytes - there);

    private static ZstdCase OfLiterals(
        string name, byte[] literals, CompressionFault fault, byte[]? sequences = null, bool qemuMayDiffer = false) =>
        new(name, Frame(Compressed(literals, sequences ?? NoSequences()), Rest(4)), fault, qemuMayDiffer);

    private static ZstdCase OfSequences(string name, byte[] sequences, CompressionFault fault, bool qemuMayDiffer = false) =>
        new(name, Frame(Compressed(s_abcLiterals, sequences), Rest(6)), fault, qemuMayDiffer);
}
