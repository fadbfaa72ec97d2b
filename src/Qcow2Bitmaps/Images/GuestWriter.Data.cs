using CommunityToolkit.HighPerformance.Buffers;
using Qcow2Bitmaps.Images.Guest.Writing;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Images;

/// <summary>Data transfer. Callers must hold the range.</summary>
internal sealed partial class GuestWriter
{
    private long TableBytes => (long)_image.Geometry.L2EntriesPerTable << _image.Geometry.ClusterBits;

    private ValueTask WriteOwnAsync(long offset, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) =>
        WriteOwnAsync(offset, bytes, null, cancellationToken);

    private async ValueTask WriteOwnAsync(long offset, ReadOnlyMemory<byte> bytes, BytesOrigin? origin, CancellationToken cancellationToken)
    {
        long end = offset + bytes.Length;
        for (long at = offset; at < end;)
        {
            long chunkEnd = Math.Min(
                Math.Min(end, (at / TableBytes + 1) * TableBytes), (at + MaxChunkBytes) & -_image.Geometry.ClusterSizeBytes);
            await WriteChunkAsync(
                at, bytes[(int)(at - offset)..(int)(chunkEnd - offset)], origin?.From(at - offset),
                cancellationToken).ConfigureAwait(false);
            at = chunkEnd;
        }
    }

    private async ValueTask WriteChunkAsync(
        long start, ReadOnlyMemory<byte> bytes, BytesOrigin? origin, CancellationToken cancellationToken)
    {
        List<ClusterWrite> plan = await WithTablesAsync(
            () => _metadata.PlanWriteAsync(start, start + bytes.Length, cancellationToken), cancellationToken).ConfigureAwait(false);
        try
        {
            for (int i = 0; i < plan.Count;)
            {
                i = await WriteClustersAsync(plan, i, start, bytes, origin, cancellationToken).ConfigureAwait(false);
            }
        }
        catch
        {
            await WithTablesAsync(() => _metadata.AbandonAsync(plan), CancellationToken.None).ConfigureAwait(false);
            throw;
        }

        if (plan.Exists(static write => write.New != write.Old))
        {
            await WithTablesAsync(() => _metadata.ApplyAsync(plan), CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <summary>Writes a cluster, and the next ones that follow it in the file and are filled by the given bytes alone.</summary>
    /// <returns>The index of the first cluster that is not written yet.</returns>
    private async ValueTask<int> WriteClustersAsync(
        List<ClusterWrite> plan, int index, long start, ReadOnlyMemory<byte> bytes, BytesOrigin? origin,
        CancellationToken cancellationToken)
    {
        ClusterWrite first = plan[index];
        long end = start + bytes.Length;
        if (first.GuestOffset + first.From < start || first.GuestOffset + first.To > end)
        {
            await WriteFilledAsync(first, start, bytes, cancellationToken).ConfigureAwait(false);
            return index + 1;
        }

        int size = _image.Geometry.ClusterSizeBytes;
        int last = index;
        while (last + 1 < plan.Count
            && plan[last].To == size
            && plan[last + 1].From == 0
            && plan[last + 1].HostOffset == plan[last].HostOffset + size
            && plan[last + 1].GuestOffset + plan[last + 1].To <= end)
        {
            last++;
        }

        long from = first.GuestOffset + first.From;
        long to = plan[last].GuestOffset + plan[last].To;
        await _data.WriteOrCloneAsync(
            first.HostOffset + first.From, bytes[(int)(from - start)..(int)(to - start)], origin?.From(from - start),
            cancellationToken).ConfigureAwait(false);
        return last + 1;
    }

    /// <summary>Writes a cluster, filled up with its previous content.</summary>
    private async ValueTask WriteFilledAsync(
        ClusterWrite write, long start, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        int length = write.To - write.From;
        using MemoryOwner<byte> buffer = MemoryOwner<byte>.Allocate(length);
        Memory<byte> filled = buffer.Memory;
        long from = write.GuestOffset + write.From;
        int head = (int)Math.Max(0, start - from);
        int tail = (int)Math.Min(length, start + bytes.Length - from);
        await ReadOwnAsync(from, filled[..head], cancellationToken).ConfigureAwait(false);
        bytes[(int)(from + head - start)..(int)(from + tail - start)].CopyTo(filled[head..]);
        await ReadOwnAsync(from + tail, filled[tail..], cancellationToken).ConfigureAwait(false);
        await _data.WriteAsync(write.HostOffset + write.From, filled, cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask WritePackedAsync(long offset, ReadOnlyMemory<byte> packed, CancellationToken cancellationToken)
    {
        long host = await WithTablesAsync(
            () => _metadata.PlanPackedAsync(offset, packed.Length, cancellationToken), cancellationToken).ConfigureAwait(false);
        try
        {
            await _image.Storage.WriteAsync(host, packed, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await WithTablesAsync(() => _metadata.AbandonPackedAsync(host, packed.Length), CancellationToken.None).ConfigureAwait(false);
            throw;
        }

        await WithTablesAsync(() => _metadata.ApplyPackedAsync(offset, host, packed.Length), CancellationToken.None).ConfigureAwait(false);
    }

    private async ValueTask ZeroOwnAsync(long start, long end, bool mayUnmap, CancellationToken cancellationToken)
    {
        int unit = _metadata.ZeroUnitBytes;
        long firstWhole = Math.Min(end, (start + unit - 1) & -unit);
        long endWhole = end == SizeBytes ? end : Math.Max(firstWhole, end & -unit);
        if (!_metadata.CanZero || firstWhole >= endWhole)
        {
            await WriteZerosAsDataAsync(start, end, cancellationToken).ConfigureAwait(false);
            return;
        }

        await WriteZerosAsDataAsync(start, firstWhole, cancellationToken).ConfigureAwait(false);
        var gaps = new List<(long Start, long End)>();
        await ForEachTableAsync(
            firstWhole, endWhole, (from, to) => _metadata.ZeroAsync(from, to, gaps, mayUnmap, cancellationToken),
            cancellationToken).ConfigureAwait(false);
        foreach ((long from, long to) in gaps)
        {
            await WriteZerosAsDataAsync(from, to, cancellationToken).ConfigureAwait(false);
        }

        await WriteZerosAsDataAsync(endWhole, end, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Writes zeros where the disk does not already read as zeros.</summary>
    private async ValueTask WriteZerosAsDataAsync(long start, long end, CancellationToken cancellationToken)
    {
        var extents = new List<DiskExtent>();
        for (long at = start; at < end;)
        {
            extents.Clear();
            at = await _disk.Map.ListAsync(at, end, extents, cancellationToken).ConfigureAwait(false);
            foreach (DiskExtent extent in extents.Where(extent => !IsZero(extent)))
            {
                if (_metadata.HasRawDataFile && extent is { Kind: ExtentKind.Data, HostOffset: { } host }
                    && await _data.TryZeroAsync(host, extent.LengthBytes, cancellationToken).ConfigureAwait(false))
                {
                    continue;
                }

                foreach ((long offset, ReadOnlyMemory<byte> zeros) in ZerosOf(extent.OffsetBytes, extent.LengthBytes))
                {
                    await WriteOwnAsync(offset, zeros, cancellationToken).ConfigureAwait(false);
                }
            }
        }
    }

    /// <summary>Whether an extent reads as zeros, also for readers of the data file alone.</summary>
    private bool IsZero(DiskExtent extent) => !_metadata.HasRawDataFile
        && (extent.Kind == ExtentKind.Zero || (extent.Kind == ExtentKind.Unallocated && _backing is null));

    private async ValueTask DiscardInDataFileAsync(long start, long end, CancellationToken cancellationToken)
    {
        if (_metadata.HasRawDataFile)
        {
            await WriteZerosAsDataAsync(start, end, cancellationToken).ConfigureAwait(false);
            return;
        }

        await ForEachTableAsync(
            start, end, (from, to) => _metadata.DiscardAsync(from, to, cancellationToken), cancellationToken,
            onlyExisting: _backing is null).ConfigureAwait(false);
    }

    private async ValueTask ReadOwnAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        long end = offset + buffer.Length;
        long diskEnd = Math.Clamp(SizeBytes, offset, end);
        buffer.Span[(int)(diskEnd - offset)..].Clear();
        var extents = new List<DiskExtent>();
        for (long at = offset; at < diskEnd;)
        {
            extents.Clear();
            at = await _disk.Map.ListAsync(at, diskEnd, extents, cancellationToken).ConfigureAwait(false);
            foreach (DiskExtent extent in extents)
            {
                Memory<byte> part = buffer.Slice((int)(extent.OffsetBytes - offset), (int)extent.LengthBytes);
                if (extent.Kind == ExtentKind.Unallocated && _backing is not null)
                {
                    await _backing.ReadFilledAsync(extent.OffsetBytes, part, cancellationToken).ConfigureAwait(false);
                }
                else
                {
                    await _disk.ReadAsync(extent, part, cancellationToken).ConfigureAwait(false);
                }
            }
        }
    }

    /// <summary>Calls an action for the part of the range that each L2 table maps; on request only for tables that exist.</summary>
    private async ValueTask ForEachTableAsync(
        long start, long end, Func<long, long, ValueTask> work, CancellationToken cancellationToken, bool onlyExisting = false)
    {
        for (long at = start; at < end;)
        {
            if (onlyExisting)
            {
                long next = _disk.Map.Tables.NextAllocated(at / TableBytes);
                if (next < 0 || next > (end - 1) / TableBytes)
                {
                    return;
                }

                at = Math.Max(at, next * TableBytes);
            }

            long from = at;
            long to = Math.Min(end, (at / TableBytes + 1) * TableBytes);
            await WithTablesAsync(() => work(from, to), cancellationToken).ConfigureAwait(false);
            at = to;
        }
    }

    private async ValueTask<T> WithTablesAsync<T>(Func<ValueTask<T>> work, CancellationToken cancellationToken)
    {
        using SharedLock.Release tables = await _tables.EnterAloneAsync(cancellationToken).ConfigureAwait(false);
        return await work().ConfigureAwait(false);
    }

    private async ValueTask WithTablesAsync(Func<ValueTask> work, CancellationToken cancellationToken)
    {
        using SharedLock.Release tables = await _tables.EnterAloneAsync(cancellationToken).ConfigureAwait(false);
        await work().ConfigureAwait(false);
    }
}
