using Qcow2Bitmaps.Bitmaps;

namespace Qcow2Bitmaps;

public sealed partial class DirtyBitmap
{
    /// <summary>The dirty ranges of the disk in ascending order, neighbours joined. Enumerating allocates nothing.</summary>
    /// <returns>An enumerable for <c>foreach</c>; the bitmap must not change meanwhile.</returns>
    public DirtyExtentEnumerable DirtyExtents() => new(this, includeClean: false);

    /// <summary>All ranges of the disk in ascending order, dirty and clean in turn. Enumerating allocates nothing.</summary>
    /// <returns>An enumerable for <c>foreach</c>; the bitmap must not change meanwhile.</returns>
    public DirtyExtentEnumerable Extents() => new(this, includeClean: true);

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
