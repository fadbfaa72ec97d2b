using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.Refcounts;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Repairs what was found, in an order that never makes the image worse, wherever it is interrupted.</summary>
/// <remarks>
/// Order: entries that need no cluster, raised counts, lowered counts, flags that follow from counts, and the bits of the header; each step
/// is durable before the next. Every write changes whole entries or counts, each of which lies in one sector.
/// </remarks>
internal sealed partial class ImageChecker
{
    // Further clusters are freed without discarding their space.
    private const int MaxDiscards = 1 << 20;

    private bool _isRebuilt;
    private bool _hasWritten;

    /// <summary>Counts may only fall where every use was counted.</summary>
    private bool CanLower => _repair.HasFlag(RepairKinds.Leaks) && !_missesUses && !_missesBitmaps && _log.CheckErrors == 0;

    /// <summary>Checks, and repairs what may be repaired.</summary>
    /// <returns>The findings, and what remains of them.</returns>
    /// <exception cref="NoSpaceException">A storage that cannot grow has no space for new reference counts; nothing was changed that a
    /// check would find.</exception>
    /// <exception cref="IOException">The storage failed; the image is unchanged or partly repaired.</exception>
    public async ValueTask<CheckReport> RepairAsync(CancellationToken cancellationToken)
    {
        await CountAsync(cancellationToken).ConfigureAwait(false);
        (long corruptions, long leaks, long checkErrors) before = (_log.Corruptions, _log.Leaks, _log.CheckErrors);
        RefcountReader stored = await CountRefcountsAsync(cancellationToken).ConfigureAwait(false);
        long corruptions = _log.Corruptions;
        await CompareAsync(stored, isRepairing: false, cancellationToken).ConfigureAwait(false);
        if (_mustRebuild && !(_repair.HasFlag(RepairKinds.Corruptions) && !_missesUses && !_missesBitmaps && before.checkErrors == 0))
        {
            _log.Fail($"ERROR need to rebuild refcount structures");
            return Report();
        }

        await WriteMendedEntriesAsync(cancellationToken).ConfigureAwait(false);
        if (_mustRebuild)
        {
            await RebuildAsync(stored, cancellationToken).ConfigureAwait(false);
        }
        else if (_log.Corruptions > corruptions || _log.Leaks > 0)
        {
            _log.Recount(corruptions, before.leaks, before.checkErrors);
            await CompareAsync(stored, isRepairing: true, cancellationToken).ConfigureAwait(false);
            await WriteCountsAsync(raise: true, cancellationToken).ConfigureAwait(false);
            await WriteCountsAsync(raise: false, cancellationToken).ConfigureAwait(false);
        }

        await CheckFlagsAsync(stored, cancellationToken).ConfigureAwait(false);
        await FlushAsync(cancellationToken).ConfigureAwait(false);
        // Faults of bitmaps alone do not affect reference counts.
        if (_log.CheckErrors == 0 && _log.Corruptions == _bitmapCorruptions)
        {
            await ClearDirtyAndCorruptAsync(cancellationToken).ConfigureAwait(false);
        }

        return Report();
    }

    private async ValueTask WriteMendedEntriesAsync(CancellationToken cancellationToken)
    {
        foreach ((long offset, ulong entry) in _mendedEntries)
        {
            await WriteEntryAsync(offset, entry).ConfigureAwait(false);
        }

        await FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Corrects the stored counts, either only upwards or only downwards.</summary>
    private async ValueTask WriteCountsAsync(bool raise, CancellationToken cancellationToken)
    {
        if (!raise && !CanLower)
        {
            return;
        }

        var unused = new List<ClusterRange>();
        RefcountReader stored = await RefcountReader.OpenAsync(_storage, _header, cancellationToken).ConfigureAwait(false);
        for (long first = 0, block = 0; first < _clusters; first += _geometry.RefcountsPerBlock, block++)
        {
            if (!stored.HasBlock(block) || !stored.IsReadable(block))
            {
                continue;
            }

            Memory<byte> bytes = await stored.ReadBlockAsync(block, cancellationToken).ConfigureAwait(false);
            (int start, int end) = Correct(bytes.Span, first, Math.Min(first + _geometry.RefcountsPerBlock, _clusters), raise, unused);
            if (end > start)
            {
                await WriteAsync(stored.OffsetOf(block) + start, bytes[start..end]).ConfigureAwait(false);
            }
        }

        await FlushAsync(cancellationToken).ConfigureAwait(false);
        await DiscardAsync(unused, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Discards the space of clusters that stay free.</summary>
    private async ValueTask DiscardAsync(List<ClusterRange> unused, CancellationToken cancellationToken)
    {
        try
        {
            foreach (ClusterRange range in unused)
            {
                long offset = _geometry.OffsetOf(range.First).Bytes;
                long end = Math.Min(_geometry.OffsetOf(range.End).Bytes, _storage.Length);
                if (offset < end)
                {
                    await _storage.DiscardAsync(offset, end - offset, cancellationToken).ConfigureAwait(false);
                }
            }
        }
        catch (Exception e) when (e is not OutOfMemoryException && !cancellationToken.IsCancellationRequested)
        {
            // The discard is a hint and may fail: the clusters are free anyway.
        }
    }

    /// <summary>Corrects the counts of a block, and lists the clusters that become free.</summary>
    /// <returns>The range of changed bytes.</returns>
    private (int Start, int End) Correct(Span<byte> block, long first, long end, bool raise, List<ClusterRange> unused)
    {
        (int start, int endByte) = (block.Length, 0);
        for (long cluster = first; cluster < end; cluster++)
        {
            int index = (int)(cluster - first);
            ulong found = RefcountBlock.Read(block, index, _geometry.RefcountOrder);
            ulong wanted = _references[cluster];
            // Counts above 2^32-1 are not distinguished.
            if (found == wanted || raise != (wanted > found) || (wanted == uint.MaxValue && found > wanted))
            {
                continue;
            }

            RefcountBlock.Write(block, index, _geometry.RefcountOrder, wanted);
            if (wanted == 0 && unused.Count < MaxDiscards)
            {
                ClusterRange.Append(unused, new HostCluster(cluster), 1);
            }

            long bit = (long)index << _geometry.RefcountOrder;
            start = Math.Min(start, (int)(bit >> 3));
            endByte = (int)((bit + _geometry.RefcountBits - 1) >> 3) + 1;
        }

        return (start, endByte);
    }

    private async ValueTask RebuildAsync(RefcountReader stored, CancellationToken cancellationToken)
    {
        (long corruptions, long leaks) = (_log.Corruptions, _log.Leaks);
        _log.Say($"Rebuilding refcount structure");
        _log.Recount(0, 0, 0);
        // Counts all uses again, without those of the old refcount structure.
        var again = new ImageChecker(_image, RepairKinds.None, _log);
        await again.CountAsync(cancellationToken).ConfigureAwait(false);
        _hasWritten = true;
        await new RefcountRebuild(
            _storage, _header, _image.Limits, again._references, stored,
            again._behindEnd).RunAsync(cancellationToken).ConfigureAwait(false);
        TellOldStructure(stored, again._references);
        _references = again._references;
        _isRebuilt = true;
        _log.FixDifference(corruptions, leaks);
    }

    /// <summary>Logs, as QEMU does, that the clusters of the old refcount structure are free, if nothing else uses them.</summary>
    private void TellOldStructure(RefcountReader stored, ReferenceCounts now)
    {
        var clusters = new SortedSet<long>();
        long table = _geometry.ClusterAt(_header.RefcountTableOffset).Number;
        for (long i = 0; i < _header.RefcountTableClusters && clusters.Count < CheckReport.MaxKeptFindings; i++)
        {
            clusters.Add(table + i);
        }

        for (long block = 0; block < stored.Table.Length && clusters.Count < 2 * CheckReport.MaxKeptFindings; block++)
        {
            if (stored.HasBlock(block) && stored.IsReadable(block))
            {
                clusters.Add(stored.OffsetOf(block) >> _geometry.ClusterBits);
            }
        }

        foreach (long cluster in clusters.Where(cluster => _references[cluster] > now[cluster]))
        {
            _log.Say($"Repairing cluster {cluster} refcount={_references[cluster]} reference={now[cluster]}");
        }
    }

    private ValueTask WriteEntryAsync(long offset, ulong entry)
    {
        var bytes = new byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, entry);
        return WriteAsync(offset, bytes);
    }

    /// <summary>Writes without cancellation, so that no write is cut off.</summary>
    private async ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> bytes)
    {
        _hasWritten = true;
        await _storage.WriteAsync(offset, bytes, CancellationToken.None).ConfigureAwait(false);
    }

    private async ValueTask ClearDirtyAndCorruptAsync(CancellationToken cancellationToken)
    {
        if (_header.Version >= 3)
        {
            HeaderChange change = new HeaderChange().SetIncompatible(
                _header.IncompatibleFeatures & ~(IncompatibleFeatures.Dirty | IncompatibleFeatures.Corrupt));
            await (await change.PlanAsync(_storage, _header, cancellationToken).ConfigureAwait(false))
                .ApplyAsync(_storage).ConfigureAwait(false);
        }
    }

    private ValueTask FlushAsync(CancellationToken cancellationToken) =>
        _hasWritten ? _storage.FlushAsync(cancellationToken) : ValueTask.CompletedTask;
}
