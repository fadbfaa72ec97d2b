using System.Diagnostics;
using Qcow2Bitmaps.Compression;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Compression;

/// <summary>Broken frames: never an exception, never a byte outside of the spans, and QEMU's verdict.</summary>
public sealed class ZstdHostileTests
{
    [Theory]
    [InlineData("text", 512)]
    [InlineData("mixed", 1500)]
    [InlineData("skewed", 600)]
    [InlineData("short-periods", 4096)]
    public void EveryFlippedBitOfAFrameWithAChecksumIsFoundOrHarmless(string kind, int size)
    {
        LibZstd.Require();
        byte[] content = Content.Make(kind, size);
        byte[] frame = LibZstd.Compress(content, 19, checksum: true, contentSize: true);
        using var input = new GuardedMemory(frame.Length);
        using var output = new GuardedMemory(size);
        var decoder = new ZstdDecoder();
        int refused = 0;
        for (int bit = 0; bit < frame.Length * 8; bit++)
        {
            Span<byte> flipped = bit % 2 == 0 ? input.AtEnd(frame.Length) : input.AtStart(frame.Length);
            frame.CopyTo(flipped);
            flipped[bit / 8] ^= (byte)(1 << (bit % 8));
            Span<byte> cluster = bit % 2 == 0 ? output.AtEnd(size) : output.AtStart(size);
            if (decoder.TryDecode(flipped, cluster, out _))
            {
                Assert.True(cluster.SequenceEqual(content), $"bit {bit}");
            }
            else
            {
                refused++;
            }
        }

        // A few bits change nothing: the unused one of the descriptor, the one that announces the checksum,
        // those that fill up descriptions of tables.
        Assert.InRange(refused, (frame.Length * 8) - 16, (frame.Length * 8) - 2);
    }

    [Fact]
    public void EveryShorterPieceIsRefused()
    {
        LibZstd.Require();
        var decoder = new ZstdDecoder();
        foreach (string kind in Content.Kinds)
        {
            byte[] frame = LibZstd.Compress(Content.Make(kind, 3000), 9, checksum: false, contentSize: false);
            using var input = new GuardedMemory(frame.Length);
            var cluster = new byte[3000];
            for (int length = 0; length < frame.Length; length++)
            {
                Span<byte> piece = input.AtEnd(length);
                frame.AsSpan(0, length).CopyTo(piece);
                Assert.False(decoder.TryDecode(piece, cluster, out CompressionFault fault));
                Assert.Equal(CompressionFault.Truncated, fault);
            }
        }
    }

    [Fact]
    public void HundredsOfThousandsOfMutationsStayInside()
    {
        LibZstd.Require();
        const int Mutations = 400_000;
        byte[][] frames = Frames([512, 513, 1024], out int[] sizes);
        using var input = new GuardedMemory(4096);
        using var output = new GuardedMemory(4096);
        var decoder = new ZstdDecoder();
        var random = new SplitMix(1);
        int good = 0;
        for (int i = 0; i < Mutations; i++)
        {
            int which = random.Below(frames.Length);
            int length = random.Below(8) == 0 ? random.Below(frames[which].Length + 1) : frames[which].Length;
            Span<byte> mutated = i % 2 == 0 ? input.AtEnd(length) : input.AtStart(length);
            frames[which].AsSpan(0, length).CopyTo(mutated);
            Mutate(mutated, random);
            Span<byte> cluster = i % 4 < 2 ? output.AtEnd(sizes[which]) : output.AtStart(sizes[which]);
            good += decoder.TryDecode(mutated, cluster, out CompressionFault fault) ? 1 : 0;
        }

        // Most of them must get far for this to say much: a part even decodes, where literals changed.
        Assert.InRange(good, Mutations / 50, Mutations);
    }

    [Fact]
    public void MutationsOfLargeFramesStayInside()
    {
        LibZstd.Require();
        byte[][] frames = Frames([20_000, 300_000], out int[] sizes);
        using var input = new GuardedMemory(310_000);
        using var output = new GuardedMemory(300_000);
        var decoder = new ZstdDecoder();
        var random = new SplitMix(2);
        for (int i = 0; i < 1500; i++)
        {
            int which = random.Below(frames.Length);
            Span<byte> mutated = i % 2 == 0 ? input.AtEnd(frames[which].Length) : input.AtStart(frames[which].Length);
            frames[which].CopyTo(mutated);
            Mutate(mutated, random);
            Span<byte> cluster = i % 4 < 2 ? output.AtEnd(sizes[which]) : output.AtStart(sizes[which]);
            bool isGood = decoder.TryDecode(mutated, cluster, out CompressionFault fault);
            Assert.Equal(isGood, fault == CompressionFault.None);
        }
    }

    [Fact]
    public void QemusLibraryGivesTheSameVerdictAndBytes()
    {
        LibZstd.Require();
        byte[][] frames = Frames([512, 4096, 30_000, 200_000], out int[] sizes);
        var decoder = new ZstdDecoder();
        var random = new SplitMix(3);
        (int good, int bad, int moreThanQemu) = (0, 0, 0);
        for (int i = 0; i < 8000; i++)
        {
            int which = Math.Min(random.Below(frames.Length), random.Below(frames.Length));
            var mutated = (byte[])frames[which].Clone();
            Mutate(mutated, random);
            // The rest of the last sector: now and then less than the frame.
            int length = random.Below(10) == 0 ? random.Below(mutated.Length) : mutated.Length + random.Below(512);
            Array.Resize(ref mutated, length);
            var ours = new byte[sizes[which]];
            var theirs = new byte[sizes[which]];
            bool isGood = decoder.TryDecode(mutated, ours, out CompressionFault fault);
            bool isGoodForQemu = LibZstd.TryDecodeAsQemu(mutated, theirs);
            // A block that makes more than the frame's window: QEMU's library decodes as a stream, and then asks.
            moreThanQemu += isGood && !isGoodForQemu ? 1 : 0;
            Assert.True(isGood || IsSameVerdict(isGood, isGoodForQemu, fault), $"{i}: {fault}, QEMU {isGoodForQemu}");
            bool sameBytes = ours.AsSpan().SequenceEqual(theirs);
            Assert.True(!isGood || !isGoodForQemu || !HasChecksum(which) || sameBytes, $"{i}: other bytes");
            good += isGood ? 1 : 0;
            bad += isGoodForQemu ? 0 : 1;
        }

        Assert.InRange(good, 500, 7500);
        Assert.InRange(bad, 500, 7500);
        Assert.InRange(moreThanQemu, 0, 8);
    }

    [Fact]
    public async Task TheToolGivesTheSameVerdictAndBytes()
    {
        LibZstd.Require();
        ZstdTool.Require();
        byte[][] frames = Frames([600, 5000], out int[] sizes);
        var decoder = new ZstdDecoder();
        var random = new SplitMix(4);
        int[] which = [.. Enumerable.Range(0, 400).Select(_ => random.Below(frames.Length))];
        byte[][] mutated = [.. which.Select(i => (byte[])frames[i].Clone())];
        Array.ForEach(mutated, one => Mutate(one, random));
        byte[]?[] expected = await ZstdTool.DecompressAsync(mutated);
        int good = 0;
        for (int i = 0; i < mutated.Length; i++)
        {
            var ours = new byte[sizes[which[i]]];
            bool isGood = decoder.TryDecode(mutated[i], ours, out CompressionFault fault);
            bool isGoodForTool = expected[i] is { } bytes && bytes.Length == ours.Length;
            Assert.True(IsSameVerdict(isGood, isGoodForTool, fault), $"{i}: {fault}, zstd {isGoodForTool}");
            bool sameBytes = ours.AsSpan().SequenceEqual(expected[i]);
            Assert.True(!isGood || !isGoodForTool || !HasChecksum(which[i]) || sameBytes, $"{i}: other bytes");
            good += isGood ? 1 : 0;
        }

        Assert.InRange(good, 10, 390);
    }

    [Fact]
    public void TimeFollowsTheInput()
    {
        // Two MiB of blocks that make nothing, of the dearest kinds; and skippable frames.
        byte[] tree = ZstdFrames.Compressed(ZstdFrames.Huffman(0, [.. ZstdFrames.Weights(1), 1]), ZstdFrames.NoSequences());
        byte[][] pieces = [
            ZstdFrames.Raw(), ZstdFrames.Repeated(1, 0), tree, [.. ZstdFrames.Skippable(0)], ZstdFrames.Frame(ZstdFrames.Raw()),
        ];
        var decoder = new ZstdDecoder();
        foreach (byte[] piece in pieces)
        {
            bool isBlock = piece[0] is not (0x5A or 0x28);
            byte[] start = isBlock ? [.. ZstdFrames.Magic, 0, 0x30] : [];
            byte[] input = [.. start, .. Enumerable.Repeat(piece, (2 << 20) / piece.Length).SelectMany(static bytes => bytes)];
            long started = Stopwatch.GetTimestamp();
            Assert.False(decoder.TryDecode(input, new byte[512], out CompressionFault fault));
            Assert.Equal(CompressionFault.Truncated, fault);
            Assert.True(Stopwatch.GetElapsedTime(started) < Patience.Limit);
        }
    }

    [Fact]
    public void NothingIsAllocatedForACluster()
    {
        LibZstd.Require();
        byte[][] frames = Frames([65_536], out int[] sizes);
        var cluster = new byte[sizes[0]];
        var decoder = new ZstdDecoder();
        Assert.All(frames, frame => Assert.True(decoder.TryDecode(frame, cluster, out _)));
        long allocated = Allocations.Of(() =>
        {
            foreach (byte[] frame in frames)
            {
                decoder.TryDecode(frame, cluster, out _);
            }
        });
        Assert.Equal(0, allocated);
    }

    /// <summary>The library is newer than QEMU's here, and refuses a little more: offsets of zero, the reserved bits of modes.</summary>
    private static bool IsSameVerdict(bool isGood, bool isGoodForOther, CompressionFault fault) =>
        isGood == isGoodForOther || (isGoodForOther && fault == CompressionFault.ZstdContent);

    /// <summary>
    /// Without a checksum, neither library asks of all streams whether they end with their last symbol. What a broken one decodes to then
    /// depends on the version and the processor.
    /// </summary>
    private static bool HasChecksum(int frame) => frame % 3 == 1;

    private static byte[][] Frames(int[] sizes, out int[] frameSizes)
    {
        (int Size, byte[] Frame)[] frames = [..
            from size in sizes
            from kind in Content.Kinds
            where kind is not ("zeros" or "random")
            from level in new[] { -5, 1, 6, 19 }
            from flags in new[] { 0, 1, 2 }
            select (size, LibZstd.Compress(Content.Make(kind, size), level, checksum: flags == 1, contentSize: flags == 2))];
        frameSizes = [.. frames.Select(static one => one.Size)];
        return [.. frames.Select(static one => one.Frame)];
    }

    /// <summary>Changes up to three bytes, near the start more often than elsewhere.</summary>
    private static void Mutate(Span<byte> bytes, SplitMix random)
    {
        for (int changes = 1 + random.Below(3); changes > 0 && bytes.Length > 0; changes--)
        {
            int at = random.Below(random.Below(3) == 0 ? Math.Min(bytes.Length, 40) : bytes.Length);
            bytes[at] = random.Below(2) == 0 ? (byte)(bytes[at] ^ (1 << random.Below(8))) : (byte)random.Below(256);
        }
    }
}
