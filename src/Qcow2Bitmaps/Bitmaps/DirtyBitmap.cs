using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>A dirty bitmap in memory: which granules of a disk were written.</summary>
/// <remarks>
/// Bits are kept in pages; a page that is all clean or all dirty takes no memory. Offsets and lengths are bytes of the disk.
/// Setting rounds out to whole granules and clearing rounds in, so that no dirty byte is ever lost. Reading from several
/// threads is safe while none changes the bitmap.
/// </remarks>
public sealed partial class DirtyBitmap : IBitmapPages
{
    /// <summary>The most bits that a bitmap may have: 2^38, far above what QEMU stores (2^32).</summary>
    internal const long MaxBitCount = 1L << 38;

    internal const int DefaultPageShift = 19;

    // Stands for a page whose bits are all one; a page whose bits are all zero is null.
    private static readonly ulong[] s_allDirty = new ulong[1];

    private readonly BitmapGeometry _geometry;
    private readonly ulong[]?[] _pages;

    /// <summary>Creates a bitmap in which nothing is dirty.</summary>
    /// <param name="sizeBytes">The disk's size in bytes; it need not be a multiple of anything.</param>
    /// <param name="granularityBytes">How many bytes a bit stands for: a power of two from 512 to 2 GiB.</param>
    /// <exception cref="ArgumentOutOfRangeException">Out of range, or more than 2^38 bits are needed.</exception>
    public DirtyBitmap(long sizeBytes, long granularityBytes)
        : this(new BitmapGeometry(sizeBytes, Format.BitmapGranularity.BitsOf(granularityBytes), DefaultPageShift))
    {
    }

    internal DirtyBitmap(BitmapGeometry geometry)
    {
        if (geometry.SizeBytes < 0 || geometry.BitCount > MaxBitCount)
        {
            throw new ArgumentOutOfRangeException(
                nameof(geometry), geometry.SizeBytes, $"A disk has at least 0 bytes and a bitmap at most {MaxBitCount} bits");
        }

        _geometry = geometry;
        _pages = new ulong[]?[geometry.PageCount];
    }

    private DirtyBitmap(DirtyBitmap other)
    {
        _geometry = other._geometry;
        _pages = new ulong[]?[other._pages.Length];
        for (int page = 0; page < _pages.Length; page++)
        {
            ulong[]? words = other._pages[page];
            _pages[page] = words is null || ReferenceEquals(words, s_allDirty) ? words : (ulong[])words.Clone();
        }
    }

    /// <summary>The disk's size in bytes.</summary>
    public long SizeBytes => _geometry.SizeBytes;

    /// <summary>How many bytes of the disk a bit stands for.</summary>
    public long GranularityBytes => 1L << _geometry.GranularityBits;

    /// <summary>The number of bits; the last one may stand for less than a granule.</summary>
    internal long BitCount => _geometry.BitCount;

    /// <summary>Whether nothing is dirty. Costs one look at each page.</summary>
    internal bool IsClean => Array.TrueForAll(_pages, static words => words is null);

    int IBitmapPages.GranularityBits => _geometry.GranularityBits;

    int IBitmapPages.PageShift => _geometry.PageShift;

    /// <summary>Makes a copy that shares nothing with this bitmap.</summary>
    public DirtyBitmap Clone() => new(this);

    /// <summary>Whether the granule that holds an offset is dirty.</summary>
    /// <param name="offsetBytes">An offset on the disk.</param>
    /// <exception cref="ArgumentOutOfRangeException">The offset lies outside the disk.</exception>
    public bool IsDirty(long offsetBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offsetBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(offsetBytes, SizeBytes);
        long bit = offsetBytes >> _geometry.GranularityBits;
        int page = (int)(bit >> _geometry.PageShift);
        int inPage = (int)(bit - _geometry.FirstBit(page));
        return KindOf(page) switch
        {
            BitmapPageKind.AllClean => false,
            BitmapPageKind.AllDirty => true,
            _ => (_pages[page]![inPage >> BitmapGeometry.WordShift] >> (inPage & 63) & 1) != 0,
        };
    }

    /// <summary>Whether every granule that a range touches is dirty.</summary>
    /// <param name="offsetBytes">Where the range starts.</param>
    /// <param name="lengthBytes">Its length; an empty range is all dirty.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range does not lie inside the disk.</exception>
    internal bool AreAllDirty(long offsetBytes, long lengthBytes)
    {
        RequireInside(offsetBytes, lengthBytes);
        if (lengthBytes == 0)
        {
            return true;
        }

        long end = ((offsetBytes + lengthBytes - 1) >> _geometry.GranularityBits) + 1;
        for (long bit = offsetBytes >> _geometry.GranularityBits; bit < end;)
        {
            int page = (int)(bit >> _geometry.PageShift);
            long pageStart = _geometry.FirstBit(page);
            long pageEnd = pageStart + _geometry.BitsIn(page);
            if (KindOf(page) == BitmapPageKind.AllClean)
            {
                return false;
            }

            for (; KindOf(page) == BitmapPageKind.Bits && bit < Math.Min(end, pageEnd); bit++)
            {
                int inPage = (int)(bit - pageStart);
                if ((_pages[page]![inPage >> BitmapGeometry.WordShift] >> (inPage & 63) & 1) == 0)
                {
                    return false;
                }
            }

            bit = pageEnd;
        }

        return true;
    }

    /// <summary>Marks a range as dirty: every granule that it touches.</summary>
    /// <param name="offsetBytes">Where the range starts.</param>
    /// <param name="lengthBytes">Its length; 0 marks nothing.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range does not lie inside the disk.</exception>
    public void Set(long offsetBytes, long lengthBytes)
    {
        RequireInside(offsetBytes, lengthBytes);
        if (lengthBytes > 0)
        {
            Fill(offsetBytes >> _geometry.GranularityBits, ((offsetBytes + lengthBytes - 1) >> _geometry.GranularityBits) + 1, true);
        }
    }

    /// <summary>Marks a range as clean: every granule that lies entirely inside it. The last granule ends at the disk's end.</summary>
    /// <param name="offsetBytes">Where the range starts.</param>
    /// <param name="lengthBytes">Its length.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range does not lie inside the disk.</exception>
    public void Clear(long offsetBytes, long lengthBytes)
    {
        RequireInside(offsetBytes, lengthBytes);
        long end = offsetBytes + lengthBytes;
        long endBit = end == SizeBytes ? BitCount : end >> _geometry.GranularityBits;
        Fill(ImageGeometry.DivideRoundingUpByPowerOfTwo(offsetBytes, _geometry.GranularityBits), endBit, false);
    }

    /// <summary>Marks the whole disk as dirty.</summary>
    internal void SetAll() => Array.Fill(_pages, s_allDirty);

    /// <summary>Marks the whole disk as clean.</summary>
    internal void ClearAll() => Array.Clear(_pages);

    /// <summary>Counts the bytes of the dirty granules, cut at the disk's end.</summary>
    public long CountDirtyBytes() => Count().Bytes;

    /// <summary>Counts the dirty granules and their bytes, cut at the disk's end.</summary>
    internal DirtyCount Count()
    {
        long count = 0;
        for (int page = 0; page < _pages.Length; page++)
        {
            count += KindOf(page) switch
            {
                BitmapPageKind.AllClean => 0,
                BitmapPageKind.AllDirty => _geometry.BitsIn(page),
                _ => BitKernels.Count(_pages[page]),
            };
        }

        return new DirtyCount(count, _geometry.DirtyBytes(count, BitCount > 0 && IsDirty(SizeBytes - 1)));
    }

    /// <summary>The size, the granularity and what is dirty.</summary>
    public override string ToString() => $"{SizeBytes} bytes at {GranularityBytes}: {Count().Bits} of {BitCount} granules dirty";

    BitmapPageKind IBitmapPages.KindOf(int page) => KindOf(page);

    ValueTask IBitmapPages.ReadPageAsync(int page, Memory<ulong> words, CancellationToken cancellationToken)
    {
        _pages[page].CopyTo(words);
        return ValueTask.CompletedTask;
    }

    private BitmapPageKind KindOf(int page)
    {
        ulong[]? words = _pages[page];
        return words is null
            ? BitmapPageKind.AllClean
            : ReferenceEquals(words, s_allDirty) ? BitmapPageKind.AllDirty : BitmapPageKind.Bits;
    }

    private void Fill(long firstBit, long endBit, bool value)
    {
        while (firstBit < endBit)
        {
            int page = (int)(firstBit >> _geometry.PageShift);
            long pageStart = _geometry.FirstBit(page);
            int bitsInPage = _geometry.BitsIn(page);
            int start = (int)(firstBit - pageStart);
            int end = (int)Math.Min(endBit - pageStart, bitsInPage);
            if (start == 0 && end == bitsInPage)
            {
                _pages[page] = value ? s_allDirty : null;
            }
            else if (KindOf(page) != (value ? BitmapPageKind.AllDirty : BitmapPageKind.AllClean))
            {
                ulong[] words = Materialize(page);
                BitKernels.Fill(words, start, end, value);
                CollapseAfterFill(page, words, start >> BitmapGeometry.WordShift, ((end - 1) >> BitmapGeometry.WordShift) + 1, value);
            }

            firstBit = pageStart + end;
        }
    }

    /// <summary>The words of a page, made if it has none.</summary>
    private ulong[] Materialize(int page)
    {
        ulong[]? words = _pages[page];
        if (words is null)
        {
            _pages[page] = words = new ulong[_geometry.WordsIn(page)];
        }
        else if (ReferenceEquals(words, s_allDirty))
        {
            _pages[page] = words = new ulong[_geometry.WordsIn(page)];
            BitKernels.Fill(words, 0, _geometry.BitsIn(page), true);
        }

        return words;
    }

    /// <summary>Drops a page's words if they have become uniform. Looks at neighbours first, so that it usually returns at once.</summary>
    private void CollapseAfterFill(int page, ulong[] words, int firstWord, int endWord, bool value)
    {
        ulong uniform = value ? ulong.MaxValue : 0;
        if ((endWord < words.Length - 1 && words[endWord] != uniform) || (firstWord > 0 && words[firstWord - 1] != uniform))
        {
            return;
        }

        Collapse(page, words);
    }

    private void Collapse(int page, ulong[] words)
    {
        ulong lastFull = BitmapGeometry.LastWordMask(_geometry.BitsIn(page));
        if (words[^1] == lastFull && BitKernels.IsAll(words.AsSpan(..^1), ulong.MaxValue))
        {
            _pages[page] = s_allDirty;
        }
        else if (words[^1] == 0 && BitKernels.IsAll(words, 0))
        {
            _pages[page] = null;
        }
    }

    private void RequireInside(long offsetBytes, long lengthBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offsetBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(lengthBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offsetBytes, SizeBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(lengthBytes, SizeBytes - offsetBytes);
    }
}
