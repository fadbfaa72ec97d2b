namespace Qcow2Bitmaps.Tests.Support;

/// <summary>The builder of test images must itself be right: QEMU says so.</summary>
public sealed class TestImageTests
{
    [Theory]
    [InlineData(9, 1 << 20)]
    [InlineData(12, (1 << 20) + 512)]
    [InlineData(16, 10 << 20)]
    [InlineData(21, 1L << 30)]
    public async Task QemuFindsTheImageClean(int clusterBits, long size)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        byte[] bits = [0x01, 0x80, 0, 0, 3];
        string path = folder.Write("test.qcow2", new TestImage(clusterBits, size).WithBitmap("a", 16, bits: bits).WithBitmap("b", 12).Build());

        await Qemu.ImgOkAsync("check", path);
        Assert.Contains("granularity: 65536", await Qemu.ImgOkAsync("info", path), StringComparison.Ordinal);
    }
}
