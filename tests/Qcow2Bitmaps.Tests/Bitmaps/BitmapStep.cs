namespace Qcow2Bitmaps.Tests.Bitmaps;

/// <summary>One change of a bitmap. Offset and length are thousandths of the disk, so that they fit any disk.</summary>
internal sealed record BitmapStep(bool IsSet, int Offset, int Length)
{
    /// <summary>The range on a disk.</summary>
    public (long Offset, long Length) RangeOn(long sizeBytes)
    {
        long offset = sizeBytes * Offset / 1000;
        // Most lengths are short, some reach over pages, some to the end.
        return (offset, Math.Min(sizeBytes - offset, Length < 900 ? Length * 37 : sizeBytes * (Length - 899) / 100));
    }

    public void Apply(DirtyBitmap bitmap, NaiveBitmap model)
    {
        (long offset, long length) = RangeOn(model.SizeBytes);
        if (IsSet)
        {
            bitmap.Set(offset, length);
            model.Set(offset, length);
        }
        else
        {
            bitmap.Clear(offset, length);
            model.Clear(offset, length);
        }
    }
}
