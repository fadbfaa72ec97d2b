using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Bitmaps;

/// <summary>The loops that <c>benchmarks/README.md</c> says allocate nothing do not, once their pages exist.</summary>
public sealed class AllocationTests
{
    private const long Size = (256L << 20) + 512;

    [Theory]
    [InlineData(4096, 4096)]
    [InlineData(8192, 4096)]
    [InlineData(65_536, 4096)]
    [InlineData(4096, 8192)]
    [InlineData(4096, 65_536)]
    public void Merging(long from, long into)
    {
        DirtyBitmap source = Dense(from);
        DirtyBitmap target = Dense(into);
        target.Merge(source);
        DirtyExtent first = target.Extents().ToList()[0];
        Assert.Equal(0, Allocations.Of(() => target.Merge(source)));
        Assert.Equal(first, target.Extents().ToList()[0]);
    }

    [Fact]
    public void MergingWhatIsAllDirty()
    {
        var source = new DirtyBitmap(Size, 4096);
        source.SetAll();
        var target = new DirtyBitmap(Size, 4096);
        target.SetAll();
        Assert.Equal(0, Allocations.Of(() => target.Merge(source)));
        Assert.Equal(Size, target.Count().Bytes);
    }

    [Fact]
    public void Counting()
    {
        DirtyBitmap bitmap = Dense(4096);
        long bytes = 0;
        Assert.Equal(0, Allocations.Of(() => bytes = bitmap.Count().Bytes));
        Assert.InRange(bytes, 1, Size - 1);
    }

    [Fact]
    public void EnumeratingCleanAndDirty()
    {
        DirtyBitmap bitmap = Dense(4096);
        long covered = 0;
        Assert.Equal(0, Allocations.Of(() =>
        {
            covered = 0;
            foreach (DirtyExtent extent in bitmap.EnumerateExtents(includeClean: true))
            {
                covered += extent.LengthBytes;
            }
        }));
        Assert.Equal(Size, covered);
    }

    [Fact]
    public void SettingAndClearingWithinPages()
    {
        DirtyBitmap bitmap = Dense(4096);
        Assert.Equal(0, Allocations.Of(() =>
        {
            for (long offset = 4096; offset < Size - 8192; offset += 16_384)
            {
                bitmap.Set(offset, 1);
                bitmap.Clear(offset, 4096);
            }
        }));
        Assert.False(bitmap.IsDirty(4096));
    }

    // A bit here and there, so that no page is uniform.
    private static DirtyBitmap Dense(long granularity)
    {
        var bitmap = new DirtyBitmap(Size, granularity);
        for (long offset = 0; offset < Size; offset += 4 * granularity)
        {
            bitmap.Set(offset, 1);
        }

        return bitmap;
    }
}
