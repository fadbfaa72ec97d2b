using FsCheck;
using FsCheck.Fluent;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Tests.Bitmaps;

/// <summary>A bitmap to make: a disk of any size, a granularity, pages of a size, and changes.</summary>
internal sealed record BitmapCase(int SizeBytes, int GranularityBits, int PageShift, IReadOnlyList<BitmapStep> Steps)
{
    // Over 16,000 bits at the smallest granularity: several pages of the smallest size, and a window of odd length.
    private const int MaxSizeBytes = 8_500_000;

    private static Gen<IReadOnlyList<BitmapStep>> AnySteps { get; } =
        (from isSet in Gen.Frequency((3, Gen.Constant(true)), (1, Gen.Constant(false)))
         from offset in Gen.Choose(0, 1000)
         from length in Gen.Choose(0, 999)
         select new BitmapStep(isSet, offset, length)).ListOf().Select(static steps => (IReadOnlyList<BitmapStep>)[.. steps]);

    public static Gen<BitmapCase> Generator { get; } =
        from size in Gen.OneOf(Gen.Choose(0, MaxSizeBytes), Gen.Choose(0, 5000), Gen.Choose(1, 16).Select(static n => n * 524_288))
        from granularityBits in Gen.OneOf(Gen.Choose(9, 12), Gen.Choose(9, 24))
        from pageShift in Gen.Choose(ImageGeometry.MinClusterBits + 3, 15)
        from steps in AnySteps
        select new BitmapCase(size, granularityBits, pageShift, steps);

    public (DirtyBitmap Bitmap, NaiveBitmap Model) Make()
    {
        var bitmap = new DirtyBitmap(new BitmapGeometry(SizeBytes, GranularityBits, PageShift));
        var model = new NaiveBitmap(SizeBytes, 1L << GranularityBits);
        foreach (BitmapStep step in Steps)
        {
            step.Apply(bitmap, model);
        }

        return (bitmap, model);
    }
}
