using Qcow2Bitmaps.Compression;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Compression;

/// <summary>What the zstd command compresses comes out as it went in.</summary>
public sealed class ZstdToolTests
{
    private const int LargestCluster = 2 << 20;

    private static readonly int[] s_sizes = [0, 1, 31, 512, 5000, 65_536, 200_000];

    public static TheoryData<string> Options =>
    [
        .. Enumerable.Range(1, 19).Select(static level => $"-{level}"), "--ultra -22", "--fast=1", "--fast=7", "--fast=200",
        "--no-check", "-7 --check", "-5 --single-thread", "-6 -T2", "-9 --long=27", "-8 --no-compress-literals", "-2 --compress-literals",
    ];

    [Theory]
    [MemberData(nameof(Options))]
    public async Task FilesOfAllKinds(string options)
    {
        ZstdTool.Require();
        byte[][] contents = [.. Content.Kinds.SelectMany(static kind => s_sizes.Select(size => Content.Make(kind, size)))];
        AssertDecodes(contents, await ZstdTool.CompressAsync(contents, options.Split(' ')));
    }

    [Theory]
    [InlineData("-1", "zeros", "random", "text", "repetitive", "short-periods", "skewed", "mixed")]
    [InlineData("-3 --no-check", "zeros", "random", "text", "repetitive", "short-periods", "skewed", "mixed")]
    [InlineData("-19", "mixed")]
    [InlineData("--ultra -22 --long=27", "repetitive")]
    public async Task LargestClusters(string options, params string[] kinds)
    {
        ZstdTool.Require();
        byte[][] contents = [.. kinds.Select(static kind => Content.Make(kind, LargestCluster))];
        AssertDecodes(contents, await ZstdTool.CompressAsync(contents, options.Split(' ')));
    }

    [Theory]
    [InlineData("-1", 700)]
    [InlineData("-3 --no-check", 65_536)]
    [InlineData("-15 --check", 150_000)]
    [InlineData("--fast=3", LargestCluster)]
    public async Task PipesWithoutContentSize(string options, int size)
    {
        ZstdTool.Require();
        foreach (string kind in Content.Kinds)
        {
            byte[] content = Content.Make(kind, size);
            byte[] frame = await ZstdTool.CompressPipeAsync(content, options.Split(' '));
            Assert.Equal(0, frame[4] & 0xE0);
            AssertDecodes([content], [frame]);
        }
    }

    /// <summary>Each frame fills its cluster with whatever follows it, and no shorter piece of it does.</summary>
    private static void AssertDecodes(byte[][] contents, byte[][] frames)
    {
        var decoder = new ZstdDecoder();
        for (int i = 0; i < contents.Length; i++)
        {
            var cluster = new byte[contents[i].Length];
            Assert.True(decoder.TryDecode([.. frames[i], 1, 2, 3], cluster, out CompressionFault fault), $"{i}: {fault}");
            Assert.True(contents[i].AsSpan().SequenceEqual(cluster), $"{i}: other bytes");
            Assert.True(decoder.TryDecode(frames[i], cluster, out _));
            Assert.True(contents[i].AsSpan().SequenceEqual(cluster), $"{i}: other bytes without a rest");
            if (cluster.Length > 1)
            {
                Assert.False(decoder.TryDecode(frames[i].AsSpan(..^1), cluster, out fault));
                Assert.Equal(CompressionFault.Truncated, fault);
                Assert.False(decoder.TryDecode(frames[i], cluster.AsSpan(..^1), out fault));
                Assert.Equal(CompressionFault.TooLong, fault);
                Assert.False(decoder.TryDecode(frames[i], new byte[cluster.Length + 1], out fault));
                Assert.Equal(CompressionFault.Truncated, fault);
            }
        }
    }
}
