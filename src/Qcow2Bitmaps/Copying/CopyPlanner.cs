using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images;

namespace Qcow2Bitmaps.Copying;

/// <summary>Cuts the disks of the sources, one behind the other, into items, from their maps alone. Thread-safe.</summary>
/// <param name="sources">The sources.</param>
/// <param name="itemBytes">The most bytes of an item that is read; items end at multiples of it.</param>
/// <param name="writesZeros">Whether zeros are written as data, so that they are no runs.</param>
/// <param name="skipFromDepth">From which image of the source on down the target reads the same.</param>
/// <param name="compareFromDepth">From which one on down it may.</param>
/// <param name="copyFromDepth">Down to which image of the source, without it, the target has all that those images have.</param>
/// <param name="comparison">Tells what need not be compared; null where nothing is.</param>
/// <param name="ranges">The parts of the disk that are copied; all of it when null.</param>
/// <param name="observer">Is told of each item, in the disk's order.</param>
internal sealed class CopyPlanner(
    IReadOnlyList<ChainMap> sources, int itemBytes, bool writesZeros, int skipFromDepth, int compareFromDepth, int copyFromDepth, CopyComparison? comparison, CopyRanges? ranges = null, ICopyObserver? observer = null) : IDisposable
{
    private readonly SemaphoreSlim _turn = new(1, 1);
    private ChainCursor _cursor = new(sources[0]);
    private int _source;
    private long _sourceStart;
    private long _at;

    public void Dispose() => _turn.Dispose();

    /// <summary>Gives out the next item.</summary>
    /// <param name="item">Takes it.</param>
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
                observer?.Begin(item.OffsetBytes);
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
        while (_at == _sourceStart + sources[_source].SizeBytes)
        {
            if (_source + 1 == sources.Count)
            {
                return null;
            }

            _sourceStart = _at;
            _cursor = new ChainCursor(sources[++_source]);
        }

        (bool isWanted, long rangeEnd) = ranges is null ? (true, long.MaxValue) : await ranges.AtAsync(_at, cancellationToken).ConfigureAwait(false);
        if (!isWanted)
        {
            // Nobody asks the map: what lies between may be a large disk.
            long length = Math.Min(rangeEnd, _sourceStart + sources[_source].SizeBytes) - _at;
            return new CopyPiece(sources[_source], new ChainExtent(_at - _sourceStart, length, GuestExtentKind.Unallocated, 0, null), _at, CopyPieceKind.Skip);
        }

        ChainExtent extent = await _cursor.GoToAsync(_at - _sourceStart, cancellationToken).ConfigureAwait(false);
        extent = extent.Slice(extent.OffsetBytes, Math.Min(extent.LengthBytes, rangeEnd - _at));
        CopyPieceKind kind = KindOf(extent);
        if (kind == CopyPieceKind.Compare)
        {
            (bool isSame, long end) = await comparison!.LookAsync(sources[_source], extent, _at, cancellationToken).ConfigureAwait(false);
            extent = extent.Slice(extent.OffsetBytes, end - _at);
            kind = isSame ? CopyPieceKind.Skip : kind;
        }

        return new CopyPiece(sources[_source], extent, _at, kind);
    }

    private CopyPieceKind KindOf(ChainExtent extent) =>
        extent.Depth >= skipFromDepth || (extent.Depth < copyFromDepth && extent.Kind != GuestExtentKind.Unallocated) ? CopyPieceKind.Skip
        // What no image has is no data of the top image, wherever the last one ends.
        : extent.Depth >= compareFromDepth || (comparison is not null && extent.Kind == GuestExtentKind.Unallocated) ? CopyPieceKind.Compare
        : extent.IsZero && !writesZeros ? CopyPieceKind.Zero
        : CopyPieceKind.Copy;
}
