namespace Qcow2Bitmaps.Copying;

/// <summary>Iterates over a disk's extents, from its start to its end. For one caller at a time.</summary>
internal sealed class DiskCursor(Disk disk)
{
    private readonly List<DiskExtent> _extents = [];
    private readonly long _sizeBytes = disk.CheckedSizeBytes;
    private int _at;

    /// <summary>The extent at an offset, from there on.</summary>
    /// <param name="offset">Where on the disk, in bytes; not before that of the last call, and before the disk's end.</param>
    /// <param name="cancellationToken">Ends the reading of tables.</param>
    /// <exception cref="IOException">The disk cannot be read, or its map is broken.</exception>
    public async ValueTask<DiskExtent> GoToAsync(long offset, CancellationToken cancellationToken)
    {
        while (_at < _extents.Count && _extents[_at].EndBytes <= offset)
        {
            _at++;
        }

        if (_at == _extents.Count)
        {
            _extents.Clear();
            _at = 0;
            await disk.ListCheckedAsync(offset, _sizeBytes, _extents, cancellationToken).ConfigureAwait(false);
        }

        DiskExtent extent = _extents[_at];
        return extent.Slice(offset, extent.EndBytes - offset);
    }
}
