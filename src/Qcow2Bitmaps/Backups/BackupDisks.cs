using Qcow2Bitmaps.Chains;

namespace Qcow2Bitmaps.Backups;

/// <summary>The disk that a backup and those it stands on make, whatever backing files their images name.</summary>
/// <param name="backups">The backup, then what it stands on.</param>
internal sealed class BackupDisks(IReadOnlyList<StoredBackup> backups) : IAsyncDisposable
{
    private readonly List<ImageChain> _images = [];
    private readonly List<ChainDisk> _maps = [];

    public async ValueTask OpenAsync(CancellationToken cancellationToken)
    {
        foreach (StoredBackup backup in backups)
        {
            _images.Add(await backup.OpenAloneAsync(cancellationToken).ConfigureAwait(false));
            _maps.Add(await _images[^1].OpenDataAsync(cancellationToken).ConfigureAwait(false));
        }
    }

    /// <summary>Reads a part of the disk.</summary>
    public async ValueTask ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        for (long at = offset; at < offset + buffer.Length;)
        {
            (ChainDisk? map, DiskExtent extent) = await FindAsync(at, offset + buffer.Length, cancellationToken).ConfigureAwait(false);
            Memory<byte> bytes = buffer.Slice((int)(at - offset), (int)extent.LengthBytes);
            if (map is null)
            {
                bytes.Span.Clear();
            }
            else
            {
                await map.ReadAsync(extent, bytes, cancellationToken).ConfigureAwait(false);
            }

            at = extent.EndBytes;
        }
    }

    /// <summary>Up to where, from an offset on, both this and another disk are known to read as zeros without being read.</summary>
    public async ValueTask<long> ZerosAsync(ImageChain other, long offset, long end, CancellationToken cancellationToken)
    {
        (ChainDisk? map, DiskExtent own) = await FindAsync(offset, end, cancellationToken).ConfigureAwait(false);
        if (map is not null && !own.IsZero)
        {
            return offset;
        }

        await foreach (DiskExtent extent in other.MapAsync(offset, own.LengthBytes, cancellationToken).ConfigureAwait(false))
        {
            return extent.IsZero ? Math.Min(own.EndBytes, extent.EndBytes) : offset;
        }

        return offset;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (ImageChain image in _images)
        {
            await image.DisposeAsync().ConfigureAwait(false);
        }
    }

    /// <summary>The topmost backup that decides what stands at an offset, and up to where; none where all have nothing.</summary>
    private async ValueTask<(ChainDisk? Map, DiskExtent Extent)> FindAsync(long offset, long end, CancellationToken cancellationToken)
    {
        var extents = new List<DiskExtent>();
        foreach (ChainDisk map in _maps)
        {
            if (offset >= map.SizeBytes)
            {
                // Behind its end those below do not show.
                break;
            }

            extents.Clear();
            await map.ListAsync(offset, Math.Min(end, map.SizeBytes), extents, cancellationToken).ConfigureAwait(false);
            end = extents[0].EndBytes;
            if (extents[0].Kind != ExtentKind.Unallocated)
            {
                return (map, extents[0]);
            }
        }

        return (null, new DiskExtent(offset, end - offset, ExtentKind.Unallocated, null));
    }
}
