using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Guest;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>How much of a file the disk and its snapshots need.</summary>
internal sealed partial class NamedEnd
{
    // For an L2 table in which a disk ends: the last entry that counts, and the bytes of its cluster.
    private readonly Dictionary<long, (int LastEntry, long LastBytes)> _diskEnds = [];

    private async ValueTask AddGuestAsync(CancellationToken cancellationToken)
    {
        Qcow2Header header = _image.Header;
        await AddL1Async(header.L1TableOffset, header.L1Size, _image.Geometry.VirtualSizeBytes, cancellationToken).ConfigureAwait(false);
        foreach (SnapshotInfo snapshot in _image.Contents.Snapshots.Snapshots)
        {
            if (Faults.CheckTable(
                FaultCode.SnapshotL1Table, "", default, new StoredTable(snapshot.L1TableOffset, snapshot.L1Size),
                (ulong)_image.Limits.MaxL1TableBytes, _geometry.ClusterBits) is null)
            {
                long size = snapshot.DiskSizeBytes is { } then and <= long.MaxValue ? (long)then : _image.Geometry.VirtualSizeBytes;
                await AddL1Async(snapshot.L1TableOffset, snapshot.L1Size, size, cancellationToken).ConfigureAwait(false);
            }
        }

        L2Table[] tables = [.. _diskEnds.Keys.Order().Select(static offset => new L2Table(offset, 1, 1))];
        // The walk takes refusals too, and logs them.
        _isIncomplete |= _scanner.TakeRefusal();
        var refused = new FindingLog();
        var walk = new L2TableWalk(_scanner, tables, _geometry.ClusterSizeBytes, activeOnly: false, refused);
        while (await walk.MoveNextAsync(cancellationToken).ConfigureAwait(false))
        {
            AddL2(walk.Table.Offset, walk.OffsetInTable / _geometry.L2EntryBytes, MemoryMarshal.Cast<byte, ulong>(walk.Bytes.Span));
        }

        _isIncomplete |= refused.CheckErrors > 0;
    }

    /// <summary>Adds an L1 table and the offsets of its L2 tables. Invalid entries are ignored; reading refuses them.</summary>
    private ValueTask AddL1Async(ulong offset, uint entries, long sizeBytes, CancellationToken cancellationToken)
    {
        Add(offset, ImageGeometry.BytesOfEntries(entries), "an L1 table ends");
        long last = sizeBytes == 0 ? -1 : _geometry.L1Index(sizeBytes - 1);
        return ReadTableAsync(
            offset,
            entries,
            (first, bytes) =>
                AddL1(MemoryMarshal.Cast<byte, ulong>(bytes.Span), (int)Math.Clamp(last - first, -1, int.MaxValue), sizeBytes),
            cancellationToken);
    }

    private void AddL1(ReadOnlySpan<ulong> words, int last, long sizeBytes)
    {
        for (int i = 0; i < words.Length; i++)
        {
            var entry = new L1Entry(BinaryPrimitives.ReverseEndianness(words[i]));
            if (entry.IsAllocated && _geometry.IsClusterAligned(entry.L2TableOffset))
            {
                Add(entry.L2TableOffset, _geometry.ClusterSizeBytes, "an L2 table ends");
                AddDiskEnd((long)entry.L2TableOffset, i == last ? EndOf(sizeBytes) : (int.MaxValue, 0));
            }
        }
    }

    /// <summary>The L2 entry in which a disk ends, and how many bytes of its cluster belong to the disk.</summary>
    private (int Entry, long Bytes) EndOf(long sizeBytes) =>
        (_geometry.L2Index(sizeBytes - 1), ((sizeBytes - 1) & (_geometry.ClusterSizeBytes - 1)) + 1);

    /// <summary>Adds the end of a disk in a table; if several states of the disk share the table, the farthest end counts.</summary>
    private void AddDiskEnd(long table, (int LastEntry, long LastBytes) end)
    {
        ref (int LastEntry, long LastBytes) known = ref CollectionsMarshal.GetValueRefOrAddDefault(_diskEnds, table, out bool exists);
        known = !exists || end.CompareTo(known) > 0 ? end : known;
    }

    private void AddL2(long table, int firstEntry, ReadOnlySpan<ulong> words)
    {
        (int lastEntry, long lastBytes) = _diskEnds[table];
        int step = _geometry.L2EntryBytes / sizeof(ulong);
        for (int i = 0; i + step <= words.Length && firstEntry + (i / step) <= lastEntry; i += step)
        {
            if (words[i] == 0)
            {
                int skipped = words[i..].IndexOfAnyExcept(0UL);
                if (skipped < 0)
                {
                    return;
                }

                i += Math.Max(skipped / step * step, step) - step;
                continue;
            }

            var entry = new L2Entry(BinaryPrimitives.ReverseEndianness(words[i]));
            if (!entry.IsCompressed && entry.HostOffset + (ulong)_geometry.ClusterSizeBytes <= _end)
            {
                continue;
            }

            ulong subclusters = step == 2 ? BinaryPrimitives.ReverseEndianness(words[i + 1]) : 0;
            AddEntry(entry, subclusters, firstEntry + (i / step) == lastEntry ? lastBytes : _geometry.ClusterSizeBytes);
        }
    }

    private void AddEntry(L2Entry entry, ulong subclusters, long bytes)
    {
        if (entry.IsCompressed)
        {
            // The last sector may be incomplete: it is unknown how many of its bytes the data take.
            CompressedDescriptor descriptor = entry.Compressed(_geometry.ClusterBits);
            long bytesBefore = Math.Max(descriptor.LengthBytes - CompressedDescriptor.SectorBytes, 0);
            Add(descriptor.HostOffset, bytesBefore + 1, "compressed data end");
        }
        else if (entry.Kind(_image.Header) == L2EntryKind.Normal && !_image.Header.HasExternalDataFile)
        {
            Add(entry.HostOffset, DataBytes(subclusters, bytes), "guest data end");
        }
    }

    /// <summary>How many bytes of a cluster with data must exist.</summary>
    private long DataBytes(ulong subclusters, long bytes)
    {
        if (!_geometry.HasExtendedL2)
        {
            return bytes;
        }

        int last = 32 - BitOperations.LeadingZeroCount((uint)new SubclusterBitmap(subclusters).Allocated);
        return Math.Min(bytes, (long)last * _geometry.SubclusterSizeBytes);
    }

    /// <summary>Adds the required end of the data file: the end of the last data on the disk, as its offsets are the disk's.</summary>
    private async ValueTask AddDataFileAsync(CancellationToken cancellationToken)
    {
        Qcow2Header header = _image.Header;
        long size = _image.Geometry.VirtualSizeBytes;
        GuestTables tables = await GuestTables
            .OpenAsync(_storage, header, header.L1TableOffset, header.L1Size, size, cancellationToken).ConfigureAwait(false);
        for (long l1Index = size == 0 ? -1 : _geometry.L1Index(size - 1); l1Index >= 0 && _end == 0; l1Index--)
        {
            if (await tables.ReadAsync(l1Index, cancellationToken).ConfigureAwait(false) is not { } table)
            {
                continue;
            }

            int step = _geometry.L2EntryBytes / sizeof(ulong);
            long tableStart = (l1Index * _geometry.L2EntriesPerTable) << _geometry.ClusterBits;
            for (int i = table.Length - step; i >= 0 && _end == 0; i -= step)
            {
                long start = tableStart + _geometry.BytesOfClusters(i / step);
                if (start < size && new L2Entry(table[i]).Kind(header) == L2EntryKind.Normal)
                {
                    long bytes = Math.Min(_geometry.ClusterSizeBytes, size - start);
                    Add((ulong)start, DataBytes(step == 2 ? table[i + 1] : 0, bytes), "guest data end");
                }
            }
        }
    }
}
