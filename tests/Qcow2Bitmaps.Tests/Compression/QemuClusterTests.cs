using System.Security.Cryptography;
using Qcow2Bitmaps.Compression;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Compression;

/// <summary>Clusters that qemu-img has compressed, found through the L2 tables.</summary>
public sealed class QemuClusterTests
{
    // Of the fixtures' compressed clusters, which hold the same in both, as Python's zlib inflates them.
    private const string FixtureSha256 = "0F2B352A94D847B4224EA279ED28D2DF94C3DB8EA1E50EC791523EB5584E36E6";

    [Theory]
    [InlineData("zstd", 512)]
    [InlineData("zstd", 4096)]
    [InlineData("zstd", 65_536)]
    [InlineData("zstd", 2 << 20)]
    [InlineData("zlib", 512)]
    [InlineData("zlib", 4096)]
    [InlineData("zlib", 65_536)]
    [InlineData("zlib", 2 << 20)]
    [InlineData("zstd", 65_536, ",extended_l2=on")]
    [InlineData("zlib", 16_384, ",extended_l2=on")]
    public async Task AreDecoded(string type, int clusterBytes, string more = "")
    {
        Qemu.Require();
        using var folder = new TempFolder();
        int kindBytes = Math.Max(clusterBytes, 300_000 / clusterBytes * clusterBytes);
        byte[] content = [.. Content.Kinds.SelectMany(kind => Content.Make(kind, kindBytes))];
        string raw = folder.Write("content.raw", content);
        await Qemu.ImgOkAsync(
            "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", $"cluster_size={clusterBytes},compression_type={type}{more}", raw,
            folder.File("image.qcow2"));
        int found = 0;
        foreach ((long offset, byte[] compressed) in CompressedImage.Clusters(
            await File.ReadAllBytesAsync(folder.File("image.qcow2"), TestContext.Current.CancellationToken)))
        {
            var cluster = new byte[clusterBytes];
            Assert.True(Decoder(type).TryDecode(compressed, cluster, out CompressionFault fault), $"{offset}: {fault}");
            Assert.True(cluster.AsSpan().SequenceEqual(content.AsSpan((int)offset, clusterBytes)), $"{offset}: other bytes");
            found++;
        }

        Assert.InRange(found, 3, content.Length / clusterBytes);
    }

    [Theory]
    [InlineData("zstd")]
    [InlineData("zlib")]
    public async Task OfFixturesAreDecoded(string type)
    {
        CancellationToken token = TestContext.Current.CancellationToken;
        string path = Path.Combine(FixtureFiles.Root, "images", $"compression-{type}.qcow2");
        byte[] image = await File.ReadAllBytesAsync(path, token);
        byte[]? guest = null;
        if (Qemu.IsHere)
        {
            using var folder = new TempFolder();
            await Qemu.ImgOkAsync("convert", "-O", "raw", path, folder.File("guest.raw"));
            guest = await File.ReadAllBytesAsync(folder.File("guest.raw"), token);
        }

        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var cluster = new byte[1 << 14];
        foreach ((long offset, byte[] compressed) in CompressedImage.Clusters(image))
        {
            Assert.True(Decoder(type).TryDecode(compressed, cluster, out _));
            Assert.True(guest is null || cluster.AsSpan().SequenceEqual(guest.AsSpan((int)offset, cluster.Length)));
            hash.AppendData(cluster);
        }

        Assert.Equal(FixtureSha256, Convert.ToHexString(hash.GetHashAndReset()));
    }

    private static IClusterDecoder Decoder(string type) => type == "zstd" ? new ZstdDecoder() : new DeflateDecoder();
}
