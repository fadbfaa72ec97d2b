using Qcow2Bitmaps.Bitmaps;

namespace Qcow2Bitmaps;

public sealed partial class DirtyBitmap
{
    /// <summary>The dirty ranges of the disk in ascending order, neighbours joined.</summary>
    /// <param name="includeClean">Whether the clean ranges between them are listed too.</param>
    /// <returns>The ranges, found while they are enumerated; the bitmap must not change meanwhile.</returns>
    public IEnumerable<DirtyExtent> Extents(bool includeClean = false)
    {
        foreach (DirtyExtent extent in EnumerateExtents(includeClean))
        {
            yield return extent;
        }
    }

    /// <summary>As <see cref="Extents"/>, without allocation.</summary>
    internal DirtyExtentEnumerable EnumerateExtents(bool includeClean = false) => new(this, includeClean);

    /// <summary>Finds the first bit of a value; the number of bits if there is none.</summary>
    internal long Find(long bit, bool value)
    {
        BitmapPageKind skipped = value ? BitmapPageKind.AllClean : BitmapPageKind.AllDirty;
        while (bit < BitCount)
        {
            int page = (int)(bit >> _geometry.PageShift);
            long pageStart = _geometry.FirstBit(page);
            int bits = _geometry.BitsIn(page);
            BitmapPageKind kind = KindOf(page);
            if (kind == BitmapPageKind.Bits)
            {
                int found = BitKernels.Find(_pages[page], (int)(bit - pageStart), bits, value);
                if (found < bits)
                {
                    return pageStart + found;
                }
            }
            else if (kind != skipped)
            {
                return bit;
            }

            bit = pageStart + bits;
        }

        return BitCount;
    }

    internal long StartOfBit(long bit) => _geometry.StartOfBit(bit);
}
