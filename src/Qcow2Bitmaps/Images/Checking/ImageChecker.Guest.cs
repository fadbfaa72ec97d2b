using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Counting what L1 and L2 tables use, the active ones and those of snapshots.</summary>
internal sealed partial class ImageChecker
{
    private async ValueTask<ulong[]> CountL1Async(
        ulong offset, uint entries, long times, Dictionary<long, long> l2Tables, CancellationToken cancellationToken)
    {
        CountRegion(offset, (long)entries * ImageGeometry.TableEntryBytes, times);
        ulong[] table = await ReadTableAsync(offset, entries, cancellationToken).ConfigureAwait(false);
        foreach (ulong raw in table)
        {
            var entry = new L1Entry(raw);
            if (raw == 0)
            {
                // Only this is no table: flags beside an offset of 0 name the first cluster as one.
                continue;
            }

            FaultCode fault = entry.Check(_geometry.ClusterBits);
            if (fault == FaultCode.L1EntryReserved)
            {
                Corrupt($"ERROR found L1 entry with reserved bits set: {raw:x}", times);
            }

            CountRegion(entry.L2TableOffset, _geometry.ClusterSizeBytes, times);
            if (!_geometry.IsClusterAligned(entry.L2TableOffset))
            {
                Corrupt($"ERROR l2_offset={entry.L2TableOffset:x}: Table is not cluster aligned; L1 entry corrupted", times);
            }

            long key = (long)entry.L2TableOffset;
            l2Tables[key] = l2Tables.GetValueOrDefault(key) + times;
        }

        return table;
    }

    private async ValueTask CountSnapshotsAsync(CancellationToken cancellationToken)
    {
        // Snapshots may share a table.
        var tables = new Dictionary<(ulong Offset, uint Entries), long>();
        for (int i = 0; i < _image.Snapshots.Count; i++)
        {
            SnapshotInfo snapshot = _image.Snapshots[i];
            if (_header.Version >= 3 && snapshot.ExtraDataBytes < SnapshotEntry.MinVersion3ExtraDataBytes)
            {
                Corrupt($"ERROR snapshot table entry {i} is incomplete");
            }

            if (!_geometry.IsClusterAligned(snapshot.L1TableOffset) || snapshot.L1TableOffset > Faults.MaxOffset)
            {
                Corrupt($"ERROR snapshot {snapshot.Id} ({snapshot.Name}) l1_offset=0x{snapshot.L1TableOffset:x}: L1 table is not cluster aligned; snapshot table entry corrupted");
            }
            else if (snapshot.L1Size > _image.Limits.MaxL1TableBytes / ImageGeometry.TableEntryBytes)
            {
                Corrupt($"ERROR snapshot {snapshot.Id} ({snapshot.Name}) l1_size=0x{snapshot.L1Size:x}: L1 table is too large; snapshot table entry corrupted");
            }
            else
            {
                (ulong, uint) table = (snapshot.L1TableOffset, snapshot.L1Size);
                tables[table] = tables.GetValueOrDefault(table) + 1;
            }
        }

        foreach (((ulong offset, uint entries), long times) in tables)
        {
            await CountL1Async(offset, entries, times, _snapshotL2, cancellationToken).ConfigureAwait(false);
        }

        CountRegion(_header.SnapshotsOffset, _image.SnapshotTableBytes);
    }

    private async ValueTask CountL2TablesAsync(ulong[] activeL1, CancellationToken cancellationToken)
    {
        var counted = new HashSet<long>();
        foreach (ulong raw in activeL1)
        {
            var entry = new L1Entry(raw);
            long offset = (long)entry.L2TableOffset;
            if (raw != 0 && counted.Add(offset))
            {
                long active = _activeL2[offset];
                await CountL2Async(entry.L2TableOffset, active + _snapshotL2.GetValueOrDefault(offset), active, cancellationToken).ConfigureAwait(false);
            }
        }

        foreach ((long offset, long times) in _snapshotL2)
        {
            if (counted.Add(offset))
            {
                await CountL2Async((ulong)offset, times, 0, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private async ValueTask CountL2Async(ulong tableOffset, long times, long activeTimes, CancellationToken cancellationToken)
    {
        ulong[] table = await ReadTableAsync(tableOffset, (uint)(_geometry.ClusterSizeBytes / sizeof(ulong)), cancellationToken).ConfigureAwait(false);
        int step = _geometry.L2EntryBytes / sizeof(ulong);
        ulong nextContiguous = 0;
        for (int i = 0; i < table.Length; i += step)
        {
            var entry = new L2Entry(table[i]);
            ulong subclusters = step == 2 ? table[i + 1] : 0;
            L2EntryKind kind = entry.Kind(_header);
            if (kind != L2EntryKind.Compressed && entry.Check(_geometry.ClusterBits) == FaultCode.L2EntryReserved)
            {
                Corrupt($"ERROR found l2 entry with reserved bits set: {entry.Raw:x}", times);
            }

            switch (kind)
            {
                case L2EntryKind.Compressed:
                    if (TryCountCompressed(entry, i / step, subclusters, times))
                    {
                        _allocated += activeTimes;
                        _compressed += activeTimes;
                        _fragmented += activeTimes;
                    }

                    break;
                case L2EntryKind.Normal or L2EntryKind.ZeroAllocated:
                    if (new SubclusterBitmap(subclusters).Check(isCompressed: false) != FaultCode.None)
                    {
                        Corrupt($"ERROR offset={entry.HostOffset:x}: Allocated cluster has corrupted subcluster allocation bitmap", times);
                    }

                    if (!_geometry.IsClusterAligned(entry.HostOffset))
                    {
                        bool hasData = step == 2 ? (subclusters & uint.MaxValue) != 0 : kind == L2EntryKind.Normal;
                        Corrupt($"ERROR offset={entry.HostOffset:x}: {(hasData ? "Data" : "Preallocated")} cluster is not properly aligned; L2 entry corrupted.", times);
                    }

                    _allocated += activeTimes;
                    _fragmented += nextContiguous != 0 && entry.HostOffset != nextContiguous ? activeTimes : 0;
                    nextContiguous = entry.HostOffset + (ulong)_geometry.ClusterSizeBytes;
                    if (!_header.HasExternalDataFile)
                    {
                        CountRegion(entry.HostOffset, _geometry.ClusterSizeBytes, times);
                    }

                    break;
                default:
                    if ((subclusters & uint.MaxValue) != 0)
                    {
                        Corrupt($"ERROR: Unallocated cluster has non-zero subcluster allocation map", times);
                    }

                    break;
            }
        }
    }

    private bool TryCountCompressed(L2Entry entry, int index, ulong subclusters, long times)
    {
        CompressedDescriptor descriptor = entry.Compressed(_geometry.ClusterBits);
        if (entry.IsCopied)
        {
            Corrupt($"ERROR: coffset=0x{descriptor.HostOffset:x}: copied flag must never be set for compressed clusters", times);
            entry = new L2Entry(entry.Raw & ~L1Entry.CopiedFlag);
        }

        if (_header.HasExternalDataFile)
        {
            Corrupt($"ERROR compressed cluster {index} with data file, entry=0x{entry.Raw:x}", times);
            return false;
        }

        if (subclusters != 0)
        {
            Corrupt($"ERROR compressed cluster {index} with non-zero subcluster allocation bitmap, entry=0x{entry.Raw:x}", times);
            return false;
        }

        CountRegion(descriptor.HostOffset, descriptor.LengthBytes, times);
        return true;
    }
}
