using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Counting what L2 tables use.</summary>
internal sealed partial class ImageChecker
{
    // The end of the last allocated cluster in the current table; 0 before the first.
    private ulong _nextContiguous;

    // L2 entries to replace, by their offsets in the file.
    private readonly List<(long Offset, ulong Entry)> _mendedEntries = [];

    private int EntryWords => _geometry.L2EntryBytes / sizeof(ulong);

    /// <summary>The bits that are clear in every entry that only needs counting.</summary>
    private ulong UnusualBits
    {
        get
        {
            ulong usual = L1Entry.CopiedFlag | (L1Entry.OffsetMask & ~((ulong)_geometry.ClusterSizeBytes - 1));
            return _header.HasExternalDataFile
                ? ulong.MaxValue
                : ~(_header.Version >= 3 && EntryWords == 1 ? usual | L2Entry.ZeroFlag : usual);
        }
    }

    private async ValueTask<Dictionary<long, List<CheckFinding>>> CountL2TablesAsync(CancellationToken cancellationToken)
    {
        var findings = new Dictionary<long, List<CheckFinding>>();
        var walk = new L2TableWalk(_scanner, _l2Tables, _geometry.ClusterSizeBytes, activeOnly: false, _log);
        long last = -1;
        while (await walk.MoveNextAsync(cancellationToken).ConfigureAwait(false))
        {
            if (walk.Table.Offset != last)
            {
                _nextContiguous = 0;
                last = walk.Table.Offset;
            }

            CountL2(walk.Table, walk.OffsetInTable, MemoryMarshal.Cast<byte, ulong>(walk.Bytes.Span));
            AddHeld(findings, last);
        }

        AddHeld(findings, last);
        return findings;
    }

    private void AddHeld(Dictionary<long, List<CheckFinding>> findings, long table)
    {
        if (_log.TakeHeld() is not { Count: > 0 } held)
        {
            return;
        }

        if (findings.TryGetValue(table, out List<CheckFinding>? earlier))
        {
            earlier.AddRange(held);
        }
        else
        {
            findings[table] = held;
        }
    }

    private void CountL2(L2Table table, int offsetInTable, ReadOnlySpan<ulong> words)
    {
        int step = EntryWords;
        ulong unusual = UnusualBits;
        ulong clusterBytes = (ulong)_geometry.ClusterSizeBytes;
        for (int i = 0; i + step <= words.Length; i += step)
        {
            ulong raw = BinaryPrimitives.ReverseEndianness(words[i]);
            if (raw == 0)
            {
                int zeros = words[i..].IndexOfAnyExcept(0UL);
                if (zeros < 0)
                {
                    return;
                }

                if (zeros >= step)
                {
                    i += zeros - (zeros % step) - step;
                    continue;
                }
            }

            ulong subclusters = step == 2 ? BinaryPrimitives.ReverseEndianness(words[i + 1]) : 0;
            var entry = new L2Entry(raw);
            if ((raw & unusual) != 0 || entry.HostOffset == 0 || entry.HostOffset >= (ulong)_length
                || new SubclusterBitmap(subclusters).Check(isCompressed: false) != FaultCode.None)
            {
                CountUnusual(table, entry, subclusters, (offsetInTable + (i * sizeof(ulong))) / _geometry.L2EntryBytes);
                continue;
            }

            // Contiguous clusters are counted together.
            int run = 1;
            ulong end = entry.HostOffset + clusterBytes;
            if (step == 1)
            {
                for (ulong next = raw + clusterBytes; end < (ulong)_length
                    && i + run < words.Length
                    && BinaryPrimitives.ReverseEndianness(words[i + run]) == next; run++)
                {
                    next += clusterBytes;
                    end += clusterBytes;
                }
            }

            CountAllocated(table, entry, run, end);
            i += (run - 1) * step;
        }
    }

    private void CountAllocated(L2Table table, L2Entry entry, int run, ulong end)
    {
        _allocated += table.ActiveTimes * run;
        _fragmented += _nextContiguous != 0 && entry.HostOffset != _nextContiguous ? table.ActiveTimes : 0;
        _nextContiguous = end;
        _hasShared |= !entry.IsCopied && table.ActiveTimes > 0;
        long first = _geometry.ClusterAt(entry.HostOffset).Number;
        if (run > 1)
        {
            CountClusters(first, first + run, table.Times);
        }
        else if (_references.Add(first, table.Times) is > 0 and ulong excess)
        {
            NoteOverflow(first, excess);
        }
    }

    private void CountUnusual(L2Table table, L2Entry entry, ulong subclusters, int index)
    {
        L2EntryKind kind = entry.Kind(_header);
        if (kind != L2EntryKind.Compressed && entry.Check(_geometry.ClusterBits) == FaultCode.L2EntryReserved)
        {
            _log.Corrupt($"ERROR found l2 entry with reserved bits set: {entry.Raw:x}", table.Times);
        }

        switch (kind)
        {
            case L2EntryKind.Compressed:
                if (TryCountCompressed(entry, index, subclusters, table.Times))
                {
                    _allocated += table.ActiveTimes;
                    _compressed += table.ActiveTimes;
                    _fragmented += table.ActiveTimes;
                }

                break;
            case L2EntryKind.Normal or L2EntryKind.ZeroAllocated:
                CountUnusualAllocated(table, entry, subclusters, index);
                break;
            default:
                if ((subclusters & uint.MaxValue) != 0)
                {
                    _log.Corrupt($"ERROR: Unallocated cluster has non-zero subcluster allocation map", table.Times);
                }

                break;
        }
    }

    private void CountUnusualAllocated(L2Table table, L2Entry entry, ulong subclusters, int index)
    {
        if (new SubclusterBitmap(subclusters).Check(isCompressed: false) != FaultCode.None)
        {
            _log.Corrupt($"ERROR offset={entry.HostOffset:x}: Allocated cluster has corrupted subcluster allocation bitmap", table.Times);
        }

        if (!_geometry.IsClusterAligned(entry.HostOffset))
        {
            // QEMU also tests the flag in version 2, which has none: an entry of 0 reads as zeros there.
            bool hasData = _geometry.HasExtendedL2 ? (subclusters & uint.MaxValue) != 0 : (entry.Raw & L2Entry.ZeroFlag) == 0;
            bool needsFlag = !_geometry.HasExtendedL2 && (_header.Version >= 3 || _image.Contents.First.BackingFile is not null);
            if (!hasData && !(needsFlag && _header.Version < 3) && _repair.HasFlag(RepairKinds.Corruptions))
            {
                // Zeros without a cluster. An extended entry gives the state of each subcluster without a cluster.
                _log.FixCorruption(
                    $"Repairing offset={entry.HostOffset:x}: Preallocated cluster is not properly aligned; L2 entry corrupted.");
                _mendedEntries.Add((table.Offset + ((long)index * _geometry.L2EntryBytes), needsFlag ? L2Entry.ZeroFlag : 0));
                return;
            }

            _log.Corrupt(
                $"ERROR offset={entry.HostOffset:x}: {(hasData ? "Data" : "Preallocated")} cluster is not properly aligned; "
                + $"L2 entry corrupted.",
                table.Times);
        }

        _allocated += table.ActiveTimes;
        _fragmented += _nextContiguous != 0 && entry.HostOffset != _nextContiguous ? table.ActiveTimes : 0;
        _nextContiguous = entry.HostOffset + (ulong)_geometry.ClusterSizeBytes;
        _hasShared |= !entry.IsCopied && table.ActiveTimes > 0;
        if (!_header.HasExternalDataFile)
        {
            CountRegion(entry.HostOffset, _geometry.ClusterSizeBytes, table.Times);
        }
    }

    private bool TryCountCompressed(L2Entry entry, int index, ulong subclusters, long times)
    {
        CompressedDescriptor descriptor = entry.Compressed(_geometry.ClusterBits);
        if (entry.IsCopied)
        {
            _log.Corrupt($"ERROR: coffset=0x{descriptor.HostOffset:x}: copied flag must never be set for compressed clusters", times);
            entry = new L2Entry(entry.Raw & ~L1Entry.CopiedFlag);
        }

        if (_header.HasExternalDataFile)
        {
            _log.Corrupt($"ERROR compressed cluster {index} with data file, entry=0x{entry.Raw:x}", times);
            return false;
        }

        if (subclusters != 0)
        {
            _log.Corrupt($"ERROR compressed cluster {index} with non-zero subcluster allocation bitmap, entry=0x{entry.Raw:x}", times);
            // QEMU does not count the data, and so frees them.
            _missesUses = true;
            return false;
        }

        CountRegion(descriptor.HostOffset, descriptor.LengthBytes, times);
        return true;
    }
}
