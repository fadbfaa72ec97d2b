using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Bitmaps;

/// <summary>How a bitmap's bits map to the disk and to pages. Nothing here overflows for disks of up to 2^63-1 bytes.</summary>
internal readonly record struct BitmapGeometry(long SizeBytes, int GranularityBits, int PageShift)
{
    public const int WordShift = 6;

    /// <summary>The number of bits for the whole disk; the last may cover less than a granule.</summary>
    internal long BitCount => ImageGeometry.DivideRoundingUpByPowerOfTwo(SizeBytes, GranularityBits);

    public long PageCount => ImageGeometry.DivideRoundingUpByPowerOfTwo(BitCount, PageShift);

    public static BitmapGeometry Of(IBitmapPages pages) => new(pages.SizeBytes, pages.GranularityBits, pages.PageShift);

    /// <summary>The page that holds an offset on the disk.</summary>
    public int PageOf(long offset) => (int)(offset >> GranularityBits >> PageShift);

    /// <summary>A page as an operand of a merge.</summary>
    public PageMerge.Piece PieceOf(int page) => new(FirstBit(page), BitsIn(page), GranularityBits);

    /// <summary>The page's first bit.</summary>
    public long FirstBit(int page) => (long)page << PageShift;

    /// <summary>The number of bits in a page.</summary>
    public int BitsIn(int page) => (int)Math.Min(1L << PageShift, BitCount - FirstBit(page));

    /// <summary>The number of words in a page.</summary>
    public int WordsIn(int page) => WordsFor(BitsIn(page));

    /// <summary>Where a bit's granule starts, in bytes; at most the disk's size.</summary>
    public long StartOfBit(long bit) => bit >= BitCount ? SizeBytes : bit << GranularityBits;

    /// <summary>The bytes of a number of granules, of which the last one on the disk may be shorter.</summary>
    public long DirtyBytes(long dirtyBits, bool isLastDirty) => isLastDirty
        ? ((dirtyBits - 1) << GranularityBits) + (SizeBytes - StartOfBit(BitCount - 1))
        : dirtyBits << GranularityBits;

    public static int WordsFor(int bits) => (bits + 63) >> WordShift;

    /// <summary>A mask of the bits that are valid in the last word.</summary>
    public static ulong LastWordMask(long bits) => (bits & 63) == 0 ? ulong.MaxValue : (1UL << (int)(bits & 63)) - 1;
}
