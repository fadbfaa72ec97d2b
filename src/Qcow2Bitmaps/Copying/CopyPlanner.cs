namespace Qcow2Bitmaps.Copying;

// Decisions: docs/decisions/copying.md.
/// <summary>Splits the concatenated disks of the sources into items, from their maps alone. Thread-safe.</summary>
/// <param name="scope">The sources, and which parts of them are copied.</param>
/// <param name="itemBytes">The most bytes of an item that is read; items end at multiples of it.</param>
/// <param name="writesZeros">Whether zeros are written as data, and so do not form runs.</param>
/// <param name="comparison">Finds parts that need no comparison; null if nothing is compared.</param>
internal sealed class CopyPlanner(CopyScope scope, int itemBytes, bool writesZeros, CopyComparison? comparison) : IDisposable
{
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly IReadOnlyList<Disk> _sources = scope.Sources;
    // As they are when the copying begins.
    private readonly long[] _sizes = [.. scope.Sources.Select(static source => source.CheckedSizeBytes)];
    private DiskCursor _cursor = new(scope.Sources[0]);
    private int _source;
    private long _sourceStart;
    private long _at;

    public void Dispose() => _turn.Dispose();

    /// <summary>Returns the next item.</summary>
    /// <param name="item">Receives it.</param>
    /// <param name="cancellationToken">Ends the reading of tables.</param>
    /// <returns>False when there is none left.</returns>
    public async ValueTask<bool> NextAsync(CopyItem item, CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            item.Pieces.Clear();
            long itemEnd = (_at / itemBytes + 1) * itemBytes;
            while (_at < itemEnd && await NextPieceAsync(cancellationToken).ConfigureAwait(false) is { } piece)
            {
                bool isRun = item.Pieces.Count == 0 && piece.Kind is CopyPieceKind.Zero or CopyPieceKind.Skip && piece.EndBytes >= itemEnd;
                long end = isRun ? piece.EndBytes - (piece.EndBytes % itemBytes) : Math.Min(itemEnd, piece.EndBytes);
                item.Pieces.Add(piece with { Extent = piece.Extent.Slice(piece.Extent.OffsetBytes, end - _at) });
                _at = end;
            }

            if (item.Pieces.Count > 0)
            {
                scope.Observer?.Begin(item.OffsetBytes);
                return true;
            }

            return false;
        }
        finally
        {
            _turn.Release();
        }
    }

    private async ValueTask<CopyPiece?> NextPieceAsync(CancellationToken cancellationToken)
    {
        while (_at == _sourceStart + _sizes[_source])
        {
            if (_source + 1 == _sources.Count)
            {
                return null;
            }

            _sourceStart = _at;
            _cursor = new DiskCursor(_sources[++_source]);
        }

        (bool isWanted, long rangeEnd) = scope.Ranges is null
            ? (true, long.MaxValue)
            : await scope.Ranges.AtAsync(_at, cancellationToken).ConfigureAwait(false);
        if (!isWanted)
        {
            // The map is not read here: the unwanted range may be a large part of the disk.
            long length = Math.Min(rangeEnd, _sourceStart + _sizes[_source]) - _at;
            return new CopyPiece(
                _sources[_source], new DiskExtent(_at - _sourceStart, length, ExtentKind.Unallocated, null), _at, CopyPieceKind.Skip);
        }

        DiskExtent extent = await _cursor.GoToAsync(_at - _sourceStart, cancellationToken).ConfigureAwait(false);
        extent = extent.Slice(extent.OffsetBytes, Math.Min(extent.LengthBytes, rangeEnd - _at));
        CopyPieceKind kind = KindOf(extent);
        if (kind == CopyPieceKind.Compare)
        {
            (bool isSame, long end) = await comparison!.LookAsync(_sources[_source], extent, _at, cancellationToken).ConfigureAwait(false);
            extent = extent.Slice(extent.OffsetBytes, end - _at);
            kind = isSame ? CopyPieceKind.Skip : kind;
        }

        return new CopyPiece(_sources[_source], extent, _at, kind);
    }

    private CopyPieceKind KindOf(DiskExtent extent) =>
        extent.Depth >= scope.SkipFromDepth || (extent.Depth < scope.CopyFromDepth && extent.Kind != ExtentKind.Unallocated)
            ? CopyPieceKind.Skip
        // Parts that no image holds are not data of the top image, wherever the images below end.
        : extent.Depth >= scope.CompareFromDepth || (comparison is not null && extent.Kind == ExtentKind.Unallocated)
            ? CopyPieceKind.Compare
        : extent.IsZero && !writesZeros ? CopyPieceKind.Zero
        : CopyPieceKind.Copy;
}
