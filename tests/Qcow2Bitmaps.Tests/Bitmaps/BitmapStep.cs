using Qcow2Bitmaps.Bitmaps;

namespace Qcow2Bitmaps.Tests.Bitmaps;

/// <summary>One change of a bitmap. Offset and length are thousandths of the disk, so that they fit any disk.</summary>
internal sealed record BitmapStep(bool IsSet, int Offset, int Length)
{
    public void Apply(DirtyBitmap bitmap, NaiveBitmap model)
    {
        long offset = model.SizeBytes * Offset / 1000;
        // Most lengths are short, some reach over pages, some to the end.
        long length = Math.Min(model.SizeBytes - offset, Length < 900 ? Length * 37 : model.SizeBytes * (Length - 899) / 100);
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
