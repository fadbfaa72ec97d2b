using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Bitmaps;

/// <summary>The edges of <see cref="DirtyBitmap"/> that generated cases seldom meet.</summary>
public sealed class DirtyBitmapTests
{
    private const long KiB = 1024;
    private const long GiB = 1L << 30;
    private const long TiB = 1L << 40;

    [Theory]
    [InlineData(256)]
    [InlineData(513)]
    [InlineData(4 * GiB)]
    [InlineData(0)]
    public void GranularityOutsideTheFormatIsRefused(long granularityBytes) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new DirtyBitmap(GiB, granularityBytes));

    [Fact]
    public void SizesThatCannotBeAreRefused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new DirtyBitmap(-1, 512));
        Assert.Throws<ArgumentOutOfRangeException>(() => new DirtyBitmap(long.MaxValue, 512));
    }

    [Fact]
    public void RangesOutsideTheDiskAreRefused()
    {
        var bitmap = new DirtyBitmap(1000, 512);

        Assert.Throws<ArgumentOutOfRangeException>(() => bitmap.Set(-1, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => bitmap.Set(0, 1001));
        Assert.Throws<ArgumentOutOfRangeException>(() => bitmap.Set(1, long.MaxValue));
        Assert.Throws<ArgumentOutOfRangeException>(() => bitmap.Clear(1001, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => bitmap.IsDirty(1000));
        Assert.True(bitmap.IsClean);
    }

    [Fact]
    public void SetRoundsOutAndClearRoundsIn()
    {
        var bitmap = new DirtyBitmap(10_000, 4096);

        bitmap.Set(4095, 2);
        Assert.Equal([new DirtyExtent(0, 8192, true)], bitmap.Extents().ToList());

        bitmap.Clear(1, 8191);
        Assert.Equal([new DirtyExtent(0, 4096, true)], bitmap.Extents().ToList());
    }

    [Fact]
    public void TheDisksEndEndsItsLastGranule()
    {
        var bitmap = new DirtyBitmap(10_000, 4096);

        bitmap.Set(9_999, 1);
        Assert.Equal(new DirtyCount(1, 10_000 - 8192), bitmap.Count());

        bitmap.Clear(8192, 10_000 - 8192);
        Assert.True(bitmap.IsClean);
    }

    [Fact]
    public void AnEmptyDiskHasNoBits()
    {
        var bitmap = new DirtyBitmap(0, 65536);

        bitmap.SetAll();
        bitmap.Set(0, 0);
        bitmap.Merge(new DirtyBitmap(GiB, 512));

        Assert.Equal(default, bitmap.Count());
        Assert.Empty(bitmap.Extents(includeClean: true).ToList());
        Assert.Equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", Convert.ToHexStringLower(bitmap.Sha256()));
    }

    [Fact]
    public void Sha256IsQemus()
    {
        // Measured with x-debug-block-dirty-bitmap-sha256: 64 bits, the first one set.
        var bitmap = new DirtyBitmap(64 * 65536, 65536);
        bitmap.Set(0, 1);

        Assert.Equal("7c9fa136d4413fa6173637e883b6998d32e1d675f88cddff9dcbcf331820f4b8", Convert.ToHexStringLower(bitmap.Sha256()));
    }

    [Fact]
    public void TheCoarsestMergesIntoTheFinest()
    {
        var coarse = new DirtyBitmap((7 * GiB) + 1, 2 * GiB);
        coarse.Set(5 * GiB, 1);
        coarse.Set(7 * GiB, 1);
        var fine = new DirtyBitmap((7 * GiB) + 1, 512);

        fine.Merge(coarse);

        Assert.Equal([new DirtyExtent(4 * GiB, (3 * GiB) + 1, true)], fine.Extents().ToList());
    }

    [Fact]
    public void TheFinestMergesIntoTheCoarsest()
    {
        var fine = new DirtyBitmap(9 * GiB, 512);
        fine.Set((5 * GiB) + 700, 1);
        fine.Set((9 * GiB) - 1, 1);
        var coarse = new DirtyBitmap(9 * GiB, 2 * GiB);

        coarse.Merge(fine);

        Assert.Equal([new DirtyExtent(4 * GiB, 2 * GiB, true), new DirtyExtent(8 * GiB, GiB, true)], coarse.Extents().ToList());
    }

    [Fact]
    public void AShorterBitmapIsCleanBehindItsEndAndALongerOneIsCut()
    {
        var shorter = new DirtyBitmap(10 * KiB, 64 * KiB);
        shorter.SetAll();
        var longer = new DirtyBitmap(100 * KiB, 4 * KiB);

        longer.Merge(shorter);
        Assert.Equal([new DirtyExtent(0, 12 * KiB, true)], longer.Extents().ToList());

        longer.SetAll();
        var cut = new DirtyBitmap(10 * KiB, 4 * KiB);
        cut.Merge(longer);
        Assert.Equal([new DirtyExtent(0, 10 * KiB, true)], cut.Extents().ToList());
    }

    [Fact]
    public void SubtractingKeepsWhatIsOnlyPartlyCovered()
    {
        var coarse = new DirtyBitmap(128 * KiB, 64 * KiB);
        coarse.SetAll();
        var fine = new DirtyBitmap(128 * KiB, 4 * KiB);
        fine.Set(0, 124 * KiB);

        coarse.Subtract(fine);

        Assert.Equal([new DirtyExtent(64 * KiB, 64 * KiB, true)], coarse.Extents().ToList());
    }

    [Fact]
    public void UniformPagesTakeNoMemory()
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        var bitmap = new DirtyBitmap(16 * TiB, 4 * KiB);
        bitmap.SetAll();
        var other = new DirtyBitmap(16 * TiB, 4 * KiB);
        other.Set(TiB, 3 * TiB);
        other.Merge(bitmap);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;

        Assert.Equal(16 * TiB, other.Count().Bytes);
        // Two arrays of references to 8192 pages each; the bits would be 512 MiB.
        Assert.InRange(allocated, 0, 256 * KiB);
    }

    [Fact]
    public void EnumeratingAndMergingAllocateNothing()
    {
        var bitmap = new DirtyBitmap(GiB, 512);
        var other = new DirtyBitmap(GiB, 512);
        for (long offset = 0; offset < GiB; offset += 64 * KiB)
        {
            bitmap.Set(offset, 1);
            other.Set(offset + 1024, 1);
        }

        bitmap.Merge(other);
        int extents = 0;
        long allocated = Allocations.Of(() =>
        {
            bitmap.Merge(other);
            extents = 0;
            foreach (DirtyExtent extent in bitmap.EnumerateExtents())
            {
                extents += extent.IsDirty ? 1 : 0;
            }
        });

        Assert.Equal(0, allocated);
        Assert.Equal(2 * 16384, extents);
    }
}
