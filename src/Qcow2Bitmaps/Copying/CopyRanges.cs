namespace Qcow2Bitmaps.Copying;

/// <summary>The parts of a disk to copy, queried in ascending order by one caller at a time.</summary>
/// <param name="ranges">The parts, in ascending order without overlaps; they are read only as far as needed.</param>
internal sealed class CopyRanges(IAsyncEnumerable<DirtyExtent> ranges) : IAsyncDisposable
{
    private IAsyncEnumerator<DirtyExtent>? _next;
    private DirtyExtent _current;
    private bool _isAtEnd;

    /// <summary>Returns whether an offset is to be copied, and up to which offset that answer holds.</summary>
    /// <param name="offset">Where on the disk, in bytes; not before that of the last call.</param>
    /// <param name="cancellationToken">Ends the reading; only the first call's token is used.</param>
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
