namespace Qcow2Bitmaps.Copying;

/// <summary>The parts of a disk that are to be copied, asked for in ascending order. For one caller at a time.</summary>
/// <param name="ranges">The parts, in ascending order, not overlapping; they are read as far as they are needed.</param>
internal sealed class CopyRanges(IAsyncEnumerable<DirtyExtent> ranges) : IAsyncDisposable
{
    private IAsyncEnumerator<DirtyExtent>? _next;
    private DirtyExtent _current;
    private bool _isAtEnd;

    /// <summary>Says whether an offset is to be copied, and up to where the same holds.</summary>
    /// <param name="offset">Where on the disk, in bytes; not before that of the last call.</param>
    /// <param name="cancellationToken">Ends the reading; that of the first call counts.</param>
    public async ValueTask<(bool IsWanted, long EndBytes)> AtAsync(long offset, CancellationToken cancellationToken)
    {
        _next ??= ranges.GetAsyncEnumerator(cancellationToken);
        while (!_isAtEnd && _current.EndBytes <= offset)
        {
            _isAtEnd = !await _next.MoveNextAsync().ConfigureAwait(false);
            _current = _isAtEnd ? default : _next.Current;
        }

        return _isAtEnd ? (false, long.MaxValue)
            : offset < _current.OffsetBytes ? (false, _current.OffsetBytes)
            : (true, _current.EndBytes);
    }

    public ValueTask DisposeAsync() => _next?.DisposeAsync() ?? ValueTask.CompletedTask;
}
