using Qcow2Bitmaps.Compression;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Compression;

/// <summary>Frames built by hand: our verdict, and QEMU's on the same bytes.</summary>
public sealed class ZstdCaseTests
{
    public static TheoryData<string> Names => [.. ZstdCases.All.Select(static one => one.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void SaysWhatIsWrong(string name)
    {
        ZstdCase one = ZstdCases.All.Single(one => one.Name == name);
        var cluster = new byte[ZstdCase.ClusterBytes];
        // In whole sectors, as a descriptor gives them.
        var sectors = new byte[(one.Data.Length + 511) / 512 * 512];
        one.Data.CopyTo(sectors, 0);
        bool isGood = new ZstdDecoder().TryDecode(sectors, cluster, out CompressionFault fault);
        Assert.Equal(one.Fault, fault);
        Assert.Equal(fault == CompressionFault.None, isGood);
    }

    [Fact]
    public async Task QemuSaysTheSame()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        ZstdCase[] cases = [.. ZstdCases.All];
        string path = folder.Write(
            "cases.qcow2", CompressedImage.Build(CompressionType.Zstd, ZstdCase.ClusterBits, [.. cases.Select(static one => one.Data)]));
        bool[] readable = await CompressedImage.ReadableByQemuAsync(path, ZstdCase.ClusterBits, cases.Length);
        string[] differences = [.. cases.Where((one, i) => !one.QemuMayDiffer && readable[i] != (one.Fault == CompressionFault.None))
            .Select(static one => one.Name)];
        Assert.Empty(differences);
    }

    [Fact]
    public void GoodOnesHaveTheBytesOfTheLibrary()
    {
        LibZstd.Require();
        var expected = new byte[ZstdCase.ClusterBytes];
        var cluster = new byte[ZstdCase.ClusterBytes];
        var decoder = new ZstdDecoder();
        foreach (ZstdCase one in ZstdCases.All.Where(static one => one.Fault == CompressionFault.None))
        {
            Assert.True(LibZstd.TryDecodeAsQemu(one.Data, expected), one.Name);
            Assert.True(decoder.TryDecode(one.Data, cluster, out _), one.Name);
            Assert.True(expected.AsSpan().SequenceEqual(cluster), one.Name);
        }
    }

    [Fact]
    public void AnEmptyClusterNeedsNoData() => Assert.True(new ZstdDecoder().TryDecode([], [], out _));
}
