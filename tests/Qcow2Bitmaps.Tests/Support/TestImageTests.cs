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
        string path = folder.Write(
            "test.qcow2", new TestImage(clusterBits, size).WithBitmap("a", 16, bits: bits).WithBitmap("b", 12).Build());

        await Qemu.ImgOkAsync("check", path);
        Assert.Contains("granularity: 65536", await Qemu.ImgOkAsync("info", path), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(9, 6, 0, true)]
    [InlineData(9, 4, 3, false)]
    [InlineData(12, 0, null, false)]
    [InlineData(12, 6, 1, false)]
    public async Task QemuFindsFullRefcountBlocksClean(int clusterBits, int refcountOrder, int? freeRefcounts, bool fillsTable)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        var image = new TestImage(clusterBits, 4 << 20, refcountOrder).WithGuestData(5).WithFreeClusters(2).WithBitmap("a", 16, bits: [1]);
        byte[] bytes = image.Build(freeRefcounts, fillsTable);
        string path = folder.Write("test.qcow2", bytes);

        await Qemu.ImgOkAsync("check", path);
        await Qemu.IoOkAsync(path, $"read -q -P 3 {2 << clusterBits} {1 << clusterBits}");
        long clusters = bytes.Length >> clusterBits;
        Assert.True(
            freeRefcounts is null
                || image.Geometry.RefcountsPerBlock - 1 - ((clusters - 1) % image.Geometry.RefcountsPerBlock) <= freeRefcounts);
        Assert.True(!fillsTable || clusters > (64 - 1) * image.Geometry.RefcountsPerBlock);
    }
}
