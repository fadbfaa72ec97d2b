using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Tests.Format;

/// <summary>Cluster arithmetic at its edges.</summary>
public sealed class ImageGeometryTests
{
    [Theory]
    [InlineData(9, 0, 9, 0, 0)]
    [InlineData(9, 1, 9, 1, 1)]
    [InlineData(9, 512 * 4096, 9, 4096, 1)]
    [InlineData(9, (512 * 4096) + 512, 9, 4097, 2)]
    [InlineData(16, 1L << 40, 16, 1L << 24, 32)]
    [InlineData(21, long.MaxValue, 31, 1L << 32, 256)]
    [InlineData(9, long.MaxValue, 9, 1L << 54, 1L << 42)]
    public void BitmapsCoverTheDisk(int clusterBits, long size, int granularityBits, long bits, long entries)
    {
        var geometry = new ImageGeometry(clusterBits, size, 4, hasExtendedL2: false);

        Assert.Equal(bits, geometry.BitmapBits(granularityBits));
        Assert.Equal(entries, geometry.BitmapTableEntries(granularityBits));
    }

    [Fact]
    public void TablesFillClusters()
    {
        var plain = new ImageGeometry(16, 1L << 40, 4, hasExtendedL2: false);
        var extended = new ImageGeometry(16, 1L << 40, 0, hasExtendedL2: true);

        Assert.Equal((8192, 4096), (plain.L2EntriesPerTable, extended.L2EntriesPerTable));
        Assert.Equal((2048, 4096), (plain.L1EntriesNeeded, extended.L1EntriesNeeded));
        Assert.Equal((65536, 2048), (plain.SubclusterSizeBytes, extended.SubclusterSizeBytes));
        Assert.Equal((32768, 524288), (plain.RefcountsPerBlock, extended.RefcountsPerBlock));
        Assert.Equal((1, 8191), (plain.L1Index(1L << 29), plain.L2Index((1L << 29) - 1)));
    }

    [Fact]
    public void ArgumentsOutsideTheFormatAreRefused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new ImageGeometry(8, 0, 4, hasExtendedL2: false));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ImageGeometry(22, 0, 4, hasExtendedL2: false));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ImageGeometry(13, 0, 4, hasExtendedL2: true));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ImageGeometry(16, -1, 4, hasExtendedL2: false));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ImageGeometry(16, 0, 7, hasExtendedL2: false));
    }

    [Theory]
    [InlineData(512, 4096)]
    [InlineData(8192, 8192)]
    [InlineData(65536, 65536)]
    [InlineData(2 << 20, 65536)]
    public void DefaultGranularityIsQemus(int clusterSize, long expected) =>
        Assert.Equal(expected, BitmapGranularity.DefaultBytes(clusterSize));
}
