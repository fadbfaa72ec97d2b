using CommunityToolkit.HighPerformance.Buffers;
using Qcow2Bitmaps.Bitmaps;

namespace Qcow2Bitmaps;

public sealed partial class DirtyBitmap
{
    /// <summary>Adds all dirty ranges of another bitmap, whatever its granularity and size.</summary>
    /// <param name="other">The other bitmap; itself changes nothing.</param>
    /// <remarks>
    /// A granule becomes dirty if the other bitmap has a dirty byte in it. A shorter bitmap counts as clean past its end; dirty ranges of a
    /// longer one past this one's end are ignored. QEMU refuses to merge different sizes.
    /// </remarks>
    public void Merge(DirtyBitmap other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (ReferenceEquals(this, other))
        {
            return;
        }

        for (int page = 0; page < other._pages.Length; page++)
        {
            if (MergeUniform(other, page) == BitmapPageKind.Bits)
            {
                MergeBits(other._geometry, page, other._pages[page]);
            }
        }
    }

    /// <summary>Keeps dirty only ranges that are dirty in both bitmaps, rounded out to this one's granules.</summary>
    /// <param name="other">The other bitmap, of any granularity and size; past its end it counts as clean.</param>
    public void Intersect(DirtyBitmap other)
    {
        ArgumentNullException.ThrowIfNull(other);
        DirtyBitmap same = other.Reshape(_geometry);
        for (int page = 0; page < _pages.Length; page++)
        {
            switch (KindOf(page), same.KindOf(page))
            {
                case (BitmapPageKind.AllClean, _) or (_, BitmapPageKind.AllDirty):
                    break;
                case (_, BitmapPageKind.AllClean):
                    _pages[page] = null;
                    break;
                case (BitmapPageKind.AllDirty, _):
                    _pages[page] = (ulong[])same._pages[page]!.Clone();
                    break;
                default:
                    BitKernels.And(_pages[page], same._pages[page]);
                    Collapse(page, _pages[page]!);
                    break;
            }
        }
    }

    /// <summary>Clears the ranges that are dirty in another bitmap. A granule stays dirty unless all of it is dirty in the other
    /// one.</summary>
    /// <param name="other">The other bitmap, of any granularity and size; past its end it counts as clean.</param>
    public void Subtract(DirtyBitmap other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (other._geometry != _geometry)
        {
            // Runs, not bits: several of the other's granules may cover one of these.
            foreach (DirtyExtent extent in other.EnumerateExtents())
            {
                if (extent.OffsetBytes >= SizeBytes)
                {
                    break;
                }

                Clear(extent.OffsetBytes, Math.Min(extent.EndBytes, SizeBytes) - extent.OffsetBytes);
            }

            return;
        }

        for (int page = 0; page < _pages.Length; page++)
        {
            switch (KindOf(page), other.KindOf(page))
            {
                case (BitmapPageKind.AllClean, _) or (_, BitmapPageKind.AllClean):
                    break;
                case (_, BitmapPageKind.AllDirty):
                    _pages[page] = null;
                    break;
                default:
                    ulong[] words = Materialize(page);
                    BitKernels.AndNot(words, other._pages[page]);
                    Collapse(page, words);
                    break;
            }
        }
    }

    /// <summary>Whether another bitmap has the same size, the same granularity and the same bits.</summary>
    /// <param name="other">The other bitmap.</param>
    internal bool HasSameContent(DirtyBitmap other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (other.SizeBytes != SizeBytes || other.GranularityBytes != GranularityBytes)
        {
            return false;
        }

        // Pages are collapsed whenever they become uniform, so that equal pages are of equal kinds.
        DirtyBitmap same = other.Reshape(_geometry);
        for (int page = 0; page < _pages.Length; page++)
        {
            if (KindOf(page) != same.KindOf(page)
                || (KindOf(page) == BitmapPageKind.Bits && !_pages[page].AsSpan().SequenceEqual(same._pages[page])))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Adds all dirty ranges of a bitmap stored elsewhere.</summary>
    internal async ValueTask MergeAsync(IBitmapPages other, CancellationToken cancellationToken)
    {
        var geometry = BitmapGeometry.Of(other);
        int pages = (int)geometry.PageCount;
        MemoryOwner<ulong>? buffer = null;
        try
        {
            for (int page = 0; page < pages; page++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                if (MergeUniform(other, page) != BitmapPageKind.Bits)
                {
                    continue;
                }

                int words = geometry.WordsIn(page);
                if (geometry == _geometry && _pages[page] is null)
                {
                    // Both layouts are the same: read the page directly into its final array.
                    ulong[] own = GC.AllocateUninitializedArray<ulong>(words);
                    await other.ReadPageAsync(page, own, cancellationToken).ConfigureAwait(false);
                    _pages[page] = own;
                    Collapse(page, own);
                    continue;
                }

                buffer ??= MemoryOwner<ulong>.Allocate(geometry.WordsIn(0));
                await other.ReadPageAsync(page, buffer.Memory[..words], cancellationToken).ConfigureAwait(false);
                MergeBits(geometry, page, buffer.Span[..words]);
            }
        }
        finally
        {
            buffer?.Dispose();
        }
    }

    /// <summary>Merges a page without reading it, if its kind allows.</summary>
    private BitmapPageKind MergeUniform(IBitmapPages other, int page)
    {
        BitmapPageKind kind = other.KindOf(page);
        if (kind == BitmapPageKind.AllDirty)
        {
            (long start, long end) = BitmapGeometry.Of(other).PieceOf(page).BytesWithin(Math.Min(SizeBytes, other.SizeBytes));
            Set(start, end - start);
        }

        return kind;
    }

    private void MergeBits(BitmapGeometry other, int otherPage, ReadOnlySpan<ulong> otherWords)
    {
        PageMerge.Piece source = other.PieceOf(otherPage);
        long limit = Math.Min(SizeBytes, other.SizeBytes);
        (long start, long end) = source.BytesWithin(limit);
        if (start >= end)
        {
            return;
        }

        if (other == _geometry && _pages[otherPage] is null)
        {
            _pages[otherPage] = otherWords.ToArray();
            return;
        }

        int lastPage = _geometry.PageOf(end - 1);
        for (int page = _geometry.PageOf(start); page <= lastPage; page++)
        {
            if (KindOf(page) == BitmapPageKind.AllDirty || IsSourceClean(page, source, otherWords, limit))
            {
                continue;
            }

            ulong[] words = Materialize(page);
            PageMerge.Piece target = _geometry.PieceOf(page);
            PageMerge.Or(target, words, source, otherWords, limit);
            (int first, int last) = target.BitsOf(start, end);
            CollapseAfterFill(page, words, first >> BitmapGeometry.WordShift, ((last - 1) >> BitmapGeometry.WordShift) + 1, true);
        }
    }

    /// <summary>Whether the source is clean in the range of a page, so that the page need not be materialised.</summary>
    private bool IsSourceClean(int page, PageMerge.Piece source, ReadOnlySpan<ulong> sourceWords, long limit)
    {
        (long start, long end) = _geometry.PieceOf(page).BytesWithin(limit);
        (int first, int last) = source.BitsOf(start, end);
        return BitKernels.Find(sourceWords, first, last, true) >= last;
    }

    /// <summary>This bitmap if it already has the given geometry; otherwise a copy rounded out and cut to it.</summary>
    private DirtyBitmap Reshape(BitmapGeometry geometry)
    {
        if (geometry == _geometry)
        {
            return this;
        }

        var reshaped = new DirtyBitmap(geometry);
        reshaped.Merge(this);
        return reshaped;
    }
}
