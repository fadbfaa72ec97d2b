namespace Qcow2Bitmaps.Bitmaps;

/// <summary>Keeps the page of a source that was read last: one coarse page serves several finer ones. Not thread-safe.</summary>
internal sealed class PageBuffer
{
    private ulong[] _words = [];
    private IBitmapPages? _source;
    private int _page;

    /// <summary>ORs the dirty ranges of a source into words, whatever the source's page layout.</summary>
    /// <param name="source">The source; it counts as clean from the limit on.</param>
    /// <param name="target">The position of the words.</param>
    /// <param name="words">The words.</param>
    /// <param name="limitBytes">Where the smaller disk ends.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public async ValueTask OrAsync(
        IBitmapPages source, PageMerge.Piece target, Memory<ulong> words, long limitBytes, CancellationToken cancellationToken)
    {
        (long start, long end) = target.BytesWithin(limitBytes);
        if (start >= end)
        {
            return;
        }

        var geometry = BitmapGeometry.Of(source);
        int lastPage = geometry.PageOf(end - 1);
        for (int page = geometry.PageOf(start); page <= lastPage; page++)
        {
            PageMerge.Piece piece = geometry.PieceOf(page);
            switch (source.KindOf(page))
            {
                case BitmapPageKind.AllClean:
                    break;
                case BitmapPageKind.AllDirty:
                    (long pageStart, long pageEnd) = piece.BytesWithin(limitBytes);
                    (int first, int last) = target.BitsOf(Math.Max(pageStart, start), Math.Min(pageEnd, end));
                    BitKernels.Fill(words.Span, first, last, true);
                    break;
                default:
                    ReadOnlyMemory<ulong> read = await ReadAsync(source, geometry, page, cancellationToken).ConfigureAwait(false);
                    PageMerge.Or(target, words.Span, piece, read.Span, limitBytes);
                    break;
            }
        }
    }

    /// <summary>What is known, without reading, about a source in the range of a piece of another bitmap.</summary>
    public static BitmapPageKind KindWithin(IBitmapPages source, PageMerge.Piece target, long limitBytes)
    {
        (long start, long end) = target.BytesWithin(limitBytes);
        if (start >= end)
        {
            return BitmapPageKind.AllClean;
        }

        var geometry = BitmapGeometry.Of(source);
        int page = geometry.PageOf(start);
        int lastPage = geometry.PageOf(end - 1);
        BitmapPageKind kind = source.KindOf(page);
        while (kind != BitmapPageKind.Bits && page < lastPage)
        {
            if (source.KindOf(++page) != kind)
            {
                return BitmapPageKind.Bits;
            }
        }

        // A source that ends inside the piece leaves the rest clean; of a granule any dirty byte makes all of it dirty.
        return kind == BitmapPageKind.AllDirty && target.BitsOf(start, end) != (0, target.BitCount) ? BitmapPageKind.Bits : kind;
    }

    private async ValueTask<ReadOnlyMemory<ulong>> ReadAsync(
        IBitmapPages source, BitmapGeometry geometry, int page, CancellationToken cancellationToken)
    {
        if (_words.Length < geometry.WordsIn(0))
        {
            _words = new ulong[geometry.WordsIn(0)];
            _source = null;
        }

        Memory<ulong> words = _words.AsMemory(0, geometry.WordsIn(page));
        if (_source != source || _page != page)
        {
            _source = null;
            await source.ReadPageAsync(page, words, cancellationToken).ConfigureAwait(false);
            _source = source;
            _page = page;
        }

        return words;
    }
}
