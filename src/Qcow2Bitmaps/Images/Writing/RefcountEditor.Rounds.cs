using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>What a writer needs who goes through many rounds.</summary>
internal sealed partial class RefcountEditor
{
    /// <summary>Whether any count differs from what is written, or is to.</summary>
    public bool HasChanges => _edits.Count > 0 || _freed.Count > 0 || _isTableMoved;

    /// <summary>Whether clusters wait to become free.</summary>
    public bool HasFreed => _freed.Count > 0;

    /// <summary>How much memory changed counts take, in bytes.</summary>
    public long EditedBytes => (long)_edits.Count * 2 * _geometry.ClusterSizeBytes;

    /// <summary>Takes back one count of a cluster that was allocated in this round or in one before, and that nothing ever named.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask GiveBackAsync(long cluster, CancellationToken cancellationToken)
    {
        ulong count = await ReadAsync(cluster, cancellationToken).ConfigureAwait(false);
        await SetAsync(cluster, count - 1, cancellationToken).ConfigureAwait(false);
        if (count == 1)
        {
            SearchFrom(cluster);
        }
    }

    /// <summary>Begins another round, when all of the last one is written.</summary>
    /// <param name="header">The header, which names another table if that has moved.</param>
    public void Restart(Qcow2Header header)
    {
        foreach ((long block, RefcountBlockEdit edit) in _edits)
        {
            _cache[block % _cache.Length] = (block, edit.Bytes);
        }

        _header = header;
        _edits.Clear();
        _allocated.Clear();
        _newBlocks.Clear();
        _linked.Clear();
        _isTableMoved = false;
        _isAround = false;
        _originalLength = _storage.Length;
    }

    /// <summary>Lets the search for free clusters see one that has become free, unless that lies in the part of a large image that is looked through last.</summary>
    private void SearchFrom(long cluster)
    {
        if (cluster >= _searchStart)
        {
            _position = Math.Min(_position, cluster);
        }
    }
}
