using Qcow2Bitmaps.Compression;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Compression;

/// <summary>Raw deflate in both directions, beside zlib and QEMU.</summary>
public sealed class DeflateTests
{
    private const int WindowBits = 12;
    private const int ClusterBits = 16;
    private const int ClusterBytes = 1 << ClusterBits;

    private static readonly int[] s_sizes = [0, 1, 2, 3, 4, 5, 300, 512, 4096, 5000, 65_536, 200_000];

    [Theory]
    [InlineData(WindowBits, 0)]
    [InlineData(WindowBits, 1)]
    [InlineData(WindowBits, 6)]
    [InlineData(WindowBits, 9)]
    [InlineData(15, 6)]
    public void ZlibsStreamsAreDecoded(int windowBits, int level)
    {
        LibZ.Require();
        var decoder = new DeflateDecoder();
        foreach (byte[] content in Contents())
        {
            byte[] compressed = LibZ.Deflate(content, windowBits, level);
            var cluster = new byte[content.Length];
            Assert.True(decoder.TryDecode([.. compressed, 255, 255, 255], cluster, out _));
            Assert.True(content.AsSpan().SequenceEqual(cluster));
            Assert.False(decoder.TryDecode(compressed, new byte[content.Length + 1], out CompressionFault fault));
            Assert.Equal(CompressionFault.Truncated, fault);
            if (content.Length > 0)
            {
                Assert.True(decoder.TryDecode(compressed, cluster.AsSpan(..^1), out _));
                Assert.False(decoder.TryDecode(compressed.AsSpan(0, compressed.Length / 2), cluster, out _));
            }
        }
    }

    [Fact]
    public void BrokenStreamsAreRefusedWithoutExceptions()
    {
        LibZ.Require();
        byte[] content = Content.Make("mixed", 1000);
        byte[] compressed = LibZ.Deflate(content, WindowBits, 6);
        var decoder = new DeflateDecoder();
        var cluster = new byte[content.Length];
        int refused = 0;
        for (int bit = 0; bit < compressed.Length * 8; bit++)
        {
            compressed[bit / 8] ^= (byte)(1 << (bit % 8));
            bool isGood = decoder.TryDecode(compressed, cluster, out CompressionFault fault);
            Assert.Equal(isGood, fault == CompressionFault.None);
            refused += isGood ? 0 : 1;
            compressed[bit / 8] ^= (byte)(1 << (bit % 8));
        }

        Assert.InRange(refused, 50, compressed.Length * 8);
        Assert.False(decoder.TryDecode([7], cluster, out CompressionFault blockType));
        Assert.Equal(CompressionFault.Deflate, blockType);
        Assert.False(decoder.TryDecode([], cluster, out CompressionFault empty));
        Assert.Equal(CompressionFault.Truncated, empty);
    }

    [Fact]
    public async Task QemuTakesWhatTheDecoderTakes()
    {
        Qemu.Require();
        LibZ.Require();
        byte[] content = Content.Make("mixed", ClusterBytes);
        byte[] far = Content.Make("repetitive", ClusterBytes);
        byte[] good = LibZ.Deflate(content, WindowBits, 6);
        var broken = (byte[])good.Clone();
        broken[broken.Length / 4] ^= 0xff;
        broken[0] |= 6;
        byte[][] clusters =
        [
            good,
            [.. good, .. "garbage"u8],
            LibZ.Deflate(far, 15, 6),
            LibZ.Deflate([.. content, 1], WindowBits, 6),
            LibZ.Deflate(content.AsSpan(..^1), WindowBits, 6),
            [.. LibZ.Deflate(content.AsSpan(..1000), WindowBits, 6), .. LibZ.Deflate(content.AsSpan(1000..), WindowBits, 6)],
            good[..(good.Length / 2)],
            broken,
            [],
        ];
        using var folder = new TempFolder();
        string path = folder.Write("cases.qcow2", CompressedImage.Build(CompressionType.Zlib, ClusterBits, clusters));
        bool[] readable = await CompressedImage.ReadableByQemuAsync(path, ClusterBits, clusters.Length);
        var decoder = new DeflateDecoder();
        var cluster = new byte[ClusterBytes];
        bool[] ours = [.. clusters.Select(one => decoder.TryDecode([.. one, .. new byte[512]], cluster, out _))];
        Assert.Equal([true, true, true, true, false, false, false, false, false], ours);
        Assert.Equal(readable, ours);
    }

    [Fact]
    public void EncodedContentsAreReadThroughAWindowOf4KiB()
    {
        LibZ.Require();
        var encoder = new DeflateEncoder();
        var decoder = new DeflateDecoder();
        foreach (byte[] content in Contents())
        {
            byte[] compressed = Encode(encoder, content);
            var cluster = new byte[content.Length];
            Assert.True(LibZ.TryInflate(compressed, cluster, WindowBits, pieceBytes: 100));
            Assert.True(content.AsSpan().SequenceEqual(cluster));
            Array.Clear(cluster);
            Assert.True(decoder.TryDecode(compressed, cluster, out _));
            Assert.True(content.AsSpan().SequenceEqual(cluster));
        }
    }

    [Fact]
    public void ThatWindowIsWhatDecodesThem()
    {
        // The check above means something: zlib with this window refuses the distances of a larger one.
        LibZ.Require();
        byte[] content = Content.Make("repetitive", ClusterBytes);
        Assert.False(LibZ.TryInflate(LibZ.Deflate(content, 15, 6), new byte[content.Length], WindowBits, pieceBytes: 100));
    }

    [Fact]
    public async Task QemuReadsWhatTheEncoderWrites()
    {
        Qemu.Require();
        var encoder = new DeflateEncoder();
        byte[] content = [.. Content.Kinds.SelectMany(static kind => Content.Make(kind, 2 * ClusterBytes))];
        // What does not get shorter has no place in a descriptor, and would be stored as it is.
        (byte[] Content, byte[] Compressed)[] clusters =
        [
            .. content.Chunk(ClusterBytes)
                .Select(cluster => (cluster, Encode(encoder, cluster)))
                .Where(static pair => pair.Item2.Length < ClusterBytes),
        ];
        Assert.Equal((Content.Kinds.Count - 2) * 2, clusters.Length);
        using var folder = new TempFolder();
        string path = folder.Write(
            "image.qcow2",
            CompressedImage.Build(CompressionType.Zlib, ClusterBits, [.. clusters.Select(static pair => pair.Compressed)], filler: 0xEE));
        await Qemu.ImgOkAsync("convert", "-O", "raw", path, folder.File("guest.raw"));
        byte[] guest = await File.ReadAllBytesAsync(folder.File("guest.raw"), TestContext.Current.CancellationToken);
        Assert.True(guest.AsSpan().SequenceEqual(clusters.SelectMany(static pair => pair.Content).ToArray()));
    }

    [Fact]
    public void IsAsShortAsZlibWithTheSameWindow()
    {
        LibZ.Require();
        var encoder = new DeflateEncoder();
        foreach (string kind in Content.Kinds)
        {
            byte[] content = Content.Make(kind, ClusterBytes);
            int ours = Encode(encoder, content).Length;
            Assert.InRange(ours, 1, (LibZ.Deflate(content, WindowBits, 6).Length * 1.03) + 20);
        }
    }

    [Fact]
    public void SaysWhatDoesNotFit()
    {
        var encoder = new DeflateEncoder();
        foreach (string kind in Content.Kinds)
        {
            byte[] content = Content.Make(kind, 700);
            int length = Encode(encoder, content).Length;
            for (int room = 0; room < length; room++)
            {
                Assert.False(encoder.TryEncode(content, new byte[room], out int none));
                Assert.Equal(0, none);
            }

            Assert.True(encoder.TryEncode(content, new byte[length], out int same));
            Assert.Equal(length, same);
        }
    }

    [Fact]
    public void NothingIsAllocatedToEncodeACluster()
    {
        var encoder = new DeflateEncoder();
        byte[] content = Content.Make("mixed", ClusterBytes);
        var compressed = new byte[2 * ClusterBytes];
        encoder.TryEncode(content, compressed, out _);
        Assert.Equal(0, Allocations.Of(() => encoder.TryEncode(content, compressed, out _)));
    }

    [Fact]
    public void DecodingAClusterAllocatesTheFrameworksStreamOnly()
    {
        byte[] content = Content.Make("mixed", ClusterBytes);
        var compressed = new byte[2 * ClusterBytes];
        Assert.True(new DeflateEncoder().TryEncode(content, compressed, out int length));
        var decoder = new DeflateDecoder();
        var cluster = new byte[ClusterBytes];
        Assert.True(decoder.TryDecode(compressed.AsSpan(0, length), cluster, out _));
        Assert.InRange(Allocations.Of(() => decoder.TryDecode(compressed.AsSpan(0, length), cluster, out _)), 0, 1024);
        Assert.Equal(content, cluster);
    }

    [Fact]
    public void TheSameClusterGivesTheSameBytesWhateverCameBefore()
    {
        var encoder = new DeflateEncoder();
        byte[] content = Content.Make("text", ClusterBytes);
        byte[] first = Encode(encoder, content);
        Encode(encoder, Content.Make("mixed", ClusterBytes, seed: 9));
        Assert.Equal(first, Encode(encoder, content));
        Assert.Equal(first, Encode(new DeflateEncoder(), content));
    }

    private static IEnumerable<byte[]> Contents() =>
        Content.Kinds.SelectMany(static kind => s_sizes.Select(size => Content.Make(kind, size)));

    private static byte[] Encode(DeflateEncoder encoder, byte[] content)
    {
        var compressed = new byte[content.Length + (content.Length / 1000) + 100];
        Assert.True(encoder.TryEncode(content, compressed, out int length));
        return compressed[..length];
    }
}
