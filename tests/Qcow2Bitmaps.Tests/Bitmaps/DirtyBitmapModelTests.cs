using FsCheck.Fluent;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Bitmaps;

/// <summary>Whatever is done to a bitmap, it says what an array of truth values says.</summary>
public sealed class DirtyBitmapModelTests
{
    [Fact]
    public void SetAndClear() => Properties.ForAll(BitmapCase.Generator, 1000, static c =>
    {
        (DirtyBitmap bitmap, NaiveBitmap model) = c.Make();

        AssertEqual(model, bitmap);
    });

    [Fact]
    public void MergeOfAnyGranularityAndSize() => Properties.ForAll(BitmapCase.Generator.Two(), 1000, static pair =>
    {
        (DirtyBitmap target, NaiveBitmap targetModel) = pair.Item1.Make();
        (DirtyBitmap source, NaiveBitmap sourceModel) = pair.Item2.Make();

        target.Merge(source);
        targetModel.Merge(sourceModel);

        AssertEqual(targetModel, target);
        AssertEqual(sourceModel, source);
    });

    [Fact]
    public void MergeOfPagesReadOneByOne() => Properties.ForAll(BitmapCase.Generator.Two(), 300, static pair =>
    {
        (DirtyBitmap target, NaiveBitmap targetModel) = pair.Item1.Make();
        (DirtyBitmap source, NaiveBitmap sourceModel) = pair.Item2.Make();

        target.MergeAsync(source, TestContext.Current.CancellationToken).AsTask().GetAwaiter().GetResult();
        targetModel.Merge(sourceModel);

        AssertEqual(targetModel, target);
    });

    [Fact]
    public void Intersect() => Properties.ForAll(BitmapCase.Generator.Two(), 1000, static pair =>
    {
        (DirtyBitmap target, NaiveBitmap targetModel) = pair.Item1.Make();
        (DirtyBitmap other, NaiveBitmap otherModel) = pair.Item2.Make();

        target.Intersect(other);
        targetModel.Intersect(otherModel);

        AssertEqual(targetModel, target);
        AssertEqual(otherModel, other);
    });

    [Fact]
    public void Subtract() => Properties.ForAll(BitmapCase.Generator.Two(), 1000, static pair =>
    {
        (DirtyBitmap target, NaiveBitmap targetModel) = pair.Item1.Make();
        (DirtyBitmap other, NaiveBitmap otherModel) = pair.Item2.Make();

        target.Subtract(other);
        targetModel.Subtract(otherModel);

        AssertEqual(targetModel, target);
        AssertEqual(otherModel, other);
    });

    [Fact]
    public void SameGeometryAlgebra() => Properties.ForAll(BitmapCase.Generator.Two(), 500, static pair =>
    {
        (DirtyBitmap first, NaiveBitmap firstModel) = pair.Item1.Make();
        (DirtyBitmap second, NaiveBitmap secondModel) = (pair.Item1 with { Steps = pair.Item2.Steps }).Make();
        DirtyBitmap intersection = first.Clone();
        var intersectionModel = new NaiveBitmap(firstModel.SizeBytes, firstModel.GranularityBytes);
        intersectionModel.Merge(firstModel);

        intersection.Intersect(second);
        intersectionModel.Intersect(secondModel);
        first.Subtract(second);
        firstModel.Subtract(secondModel);

        AssertEqual(intersectionModel, intersection);
        AssertEqual(firstModel, first);
    });

    [Fact]
    public void EqualityLooksAtContentOnly() => Properties.ForAll(BitmapCase.Generator, 500, static c =>
    {
        (DirtyBitmap bitmap, _) = c.Make();
        (DirtyBitmap otherPages, _) = (c with { PageShift = c.PageShift == 12 ? 14 : 12 }).Make();

        Assert.True(bitmap.HasSameContent(otherPages));
        Assert.Equal(bitmap.Sha256(), otherPages.Sha256());
        Assert.True(bitmap.HasSameContent(bitmap.Clone()));
        if (bitmap.BitCount > 0)
        {
            // One bit more or less is seen.
            bool wasDirty = otherPages.IsDirty(c.SizeBytes - 1);
            long last = (bitmap.BitCount - 1) * bitmap.GranularityBytes;
            if (wasDirty)
            {
                otherPages.Clear(last, c.SizeBytes - last);
            }
            else
            {
                otherPages.Set(last, 1);
            }

            Assert.False(bitmap.HasSameContent(otherPages));
            Assert.NotEqual(bitmap.Sha256(), otherPages.Sha256());
        }
    });

    [Fact]
    public void StreamedUnionOfSeveral() => Properties.ForAll(BitmapCase.Generator.Three(), 300, static cases =>
    {
        (DirtyBitmap Bitmap, NaiveBitmap Model)[] sources = [cases.Item1.Make(), cases.Item2.Make(), cases.Item3.Make()];
        var model = new NaiveBitmap(cases.Item1.SizeBytes, 1L << cases.Item1.GranularityBits);
        foreach ((_, NaiveBitmap source) in sources)
        {
            model.Merge(source);
        }

        var reader = new MergedBitmapReader(sources.Select(static s => s.Bitmap), model.SizeBytes, cases.Item1.GranularityBits);
        IReadOnlyList<DirtyExtent> all = Collect(reader.ReadExtentsAsync(includeClean: true, CancellationToken.None));

        Assert.Equal(model.Extents(), all);
        Assert.Equal(all.Where(static e => e.IsDirty), Collect(reader.ReadExtentsAsync(includeClean: false, CancellationToken.None)));
        Assert.Equal(
            new DirtyCount(
                model.Bits.LongCount(static b => b), model.Extents().Where(static e => e.IsDirty).Sum(static e => e.LengthBytes)),
            reader.CountAsync(CancellationToken.None).AsTask().GetAwaiter().GetResult());
    });

    private static List<DirtyExtent> Collect(IAsyncEnumerable<DirtyExtent> extents) =>
        extents.ToBlockingEnumerable(TestContext.Current.CancellationToken).ToList();

    private static void AssertEqual(NaiveBitmap model, DirtyBitmap bitmap)
    {
        IReadOnlyList<DirtyExtent> expected = model.Extents();
        Assert.Equal(expected, bitmap.Extents(includeClean: true).ToList());
        Assert.Equal(expected.Where(static e => e.IsDirty), bitmap.Extents().ToList());
        Assert.Equal(
            new DirtyCount(model.Bits.LongCount(static b => b), expected.Where(static e => e.IsDirty).Sum(static e => e.LengthBytes)),
            bitmap.Count());
        Assert.Equal(!Array.Exists(model.Bits, static b => b), bitmap.IsClean);
        for (long bit = 0; bit < model.Bits.Length; bit += Math.Max(1, model.Bits.Length / 50))
        {
            Assert.Equal(model.Bits[bit], bitmap.IsDirty(model.StartOf(bit)));
            Assert.Equal(model.Bits[bit], bitmap.IsDirty(model.EndOf(bit) - 1));
        }

        AssertPagesAreSparse(bitmap);
    }

    /// <summary>A page that is all clean or all dirty must not have been given memory.</summary>
    private static void AssertPagesAreSparse(IBitmapPages pages)
    {
        var geometry = BitmapGeometry.Of(pages);
        for (int page = 0; page < geometry.PageCount; page++)
        {
            if (pages.KindOf(page) == BitmapPageKind.Bits)
            {
                var words = new ulong[geometry.WordsIn(page)];
                Assert.True(pages.ReadPageAsync(page, words, CancellationToken.None).IsCompletedSuccessfully);
                int bits = geometry.BitsIn(page);
                Assert.InRange(BitKernels.Count(words), 1, bits - 1);
                Assert.Equal(0UL, words[^1] & ~BitmapGeometry.LastWordMask(bits));
            }
        }
    }
}
