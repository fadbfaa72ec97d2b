using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Refcounts;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Checks the "copied" flags, which say that a cluster has one owner.</summary>
internal sealed partial class ImageChecker
{
    /// <summary>False if every count is right and at most one, and every flag is set: then no flag is wrong.</summary>
    private bool CanFlagsBeWrong =>
        _hasShared || _log.Corruptions + _log.Leaks + _log.CheckErrors + _log.CorruptionsFixed + _log.LeaksFixed > 0;

    private bool MendsFlags => _repair.HasFlag(RepairKinds.Corruptions)
        || (_repair.HasFlag(RepairKinds.Leaks) && _log.Corruptions == 0 && _log.CheckErrors == 0);

    private ValueTask CheckFlagsAsync(RefcountReader stored, CancellationToken cancellationToken) =>
        CanFlagsBeWrong ? CheckCopiedFlagsAsync(stored, cancellationToken) : ValueTask.CompletedTask;

    private async ValueTask CheckCopiedFlagsAsync(RefcountReader stored, CancellationToken cancellationToken)
    {
        bool mends = MendsFlags;
        _log.Hold();
        Dictionary<long, List<CheckFinding>> ofTables = _header.HasExternalDataFile
            ? []
            : await CheckL2FlagsAsync(stored, mends, cancellationToken).ConfigureAwait(false);
        var l1 = new L1Table(_activeL1.Offset, _activeL1.Entries);
        var tables = new List<(int Index, L1Entry Entry)>();
        await ForEachEntryAsync(
            l1, (index, raw) => AddSuspicious(tables, index, new L1Entry(raw)), cancellationToken).ConfigureAwait(false);
        foreach ((int index, L1Entry entry) in tables)
        {
            ulong? refcount = await StoredCountAsync(stored, entry.L2TableOffset, cancellationToken).ConfigureAwait(false);
            if (refcount is not null && (refcount == 1) != entry.IsCopied)
            {
                if (mends)
                {
                    _log.FixCorruption($"Repairing OFLAG_COPIED L2 cluster: l1_index={index} l1_entry={entry.Raw:x} refcount={refcount}");
                    await WriteEntryAsync(
                        (long)ImageGeometry.EntryOffset(l1.Offset, index), entry.Raw ^ L1Entry.CopiedFlag).ConfigureAwait(false);
                }
                else
                {
                    _log.Corrupt($"ERROR OFLAG_COPIED L2 cluster: l1_index={index} l1_entry={entry.Raw:x} refcount={refcount}");
                }
            }

            HoldFor(l1, index);
        }

        _log.EndHolding();
        await TellAsync(l1, ofTables, cancellationToken).ConfigureAwait(false);
    }

    private void AddSuspicious(List<(int Index, L1Entry Entry)> tables, int index, L1Entry entry)
    {
        if (entry.IsAllocated && IsSuspicious(entry.L2TableOffset, entry.IsCopied))
        {
            tables.Add((index, entry));
        }
    }

    private async ValueTask<Dictionary<long, List<CheckFinding>>> CheckL2FlagsAsync(
        RefcountReader stored, bool mends, CancellationToken cancellationToken)
    {
        var findings = new Dictionary<long, List<CheckFinding>>();
        var walk = new L2TableWalk(_scanner, _l2Tables, _geometry.ClusterSizeBytes, activeOnly: true, _log);
        while (await walk.MoveNextAsync(cancellationToken).ConfigureAwait(false))
        {
            int words = walk.Bytes.Length / sizeof(ulong);
            (int firstMended, int endMended) = (-1, 0);
            for (int i = 0; (i = NextSuspicious(MemoryMarshal.Cast<byte, ulong>(walk.Bytes.Span), i)) < words; i += EntryWords)
            {
                var entry = new L2Entry(BinaryPrimitives.ReadUInt64BigEndian(walk.Bytes.Span[(i * sizeof(ulong))..]));
                ulong? refcount = await StoredCountAsync(stored, entry.HostOffset, cancellationToken).ConfigureAwait(false);
                if (refcount is null || (refcount == 1) == entry.IsCopied)
                {
                    continue;
                }

                if (!mends)
                {
                    _log.Corrupt($"ERROR OFLAG_COPIED data cluster: l2_entry={entry.Raw:x} refcount={refcount}", walk.Table.ActiveTimes);
                    continue;
                }

                _log.FixCorruption($"Repairing OFLAG_COPIED data cluster: l2_entry={entry.Raw:x} refcount={refcount}");
                BinaryPrimitives.WriteUInt64BigEndian(walk.Bytes.Span[(i * sizeof(ulong))..], entry.Raw ^ L1Entry.CopiedFlag);
                firstMended = firstMended < 0 ? i : firstMended;
                endMended = i + 1;
            }

            if (firstMended >= 0)
            {
                Memory<byte> mended = walk.Bytes[(firstMended * sizeof(ulong))..(endMended * sizeof(ulong))];
                await WriteAsync(walk.Table.Offset + walk.OffsetInTable + (firstMended * sizeof(ulong)), mended).ConfigureAwait(false);
            }

            AddHeld(findings, walk.Table.Offset);
        }

        AddHeld(findings, -1);
        return findings;
    }

    /// <summary>The index of the first entry whose flag seems wrong; where the words end when there is none.</summary>
    private int NextSuspicious(ReadOnlySpan<ulong> words, int start)
    {
        for (int i = start; i < words.Length; i += EntryWords)
        {
            var entry = new L2Entry(BinaryPrimitives.ReverseEndianness(words[i]));
            if (entry.HostOffset != 0 && !entry.IsCompressed && IsSuspicious(entry.HostOffset, entry.IsCopied))
            {
                return i;
            }
        }

        return words.Length;
    }

    private bool IsSuspicious(ulong offset, bool isCopied) => (_references[_geometry.ClusterAt(offset).Number] == 1) != isCopied;

    /// <summary>The stored count of a cluster; null if unknown.</summary>
    private ValueTask<ulong?> StoredCountAsync(RefcountReader stored, ulong offset, CancellationToken cancellationToken)
    {
        HostCluster place = _geometry.ClusterAt(offset);
        long cluster = place.Number;
        if (_isRebuilt)
        {
            return ValueTask.FromResult<ulong?>(_references[cluster]);
        }

        long block = _geometry.RefcountBlockOf(place);
        uint known = _references[cluster];
        // All clusters in use have been compared, unless some table was not read.
        bool isKnown = cluster < _clusters
            && known < uint.MaxValue
            && (known > 0 || _log.CheckErrors == 0)
            && (!stored.HasBlock(block) || stored.IsReadable(block));
        return isKnown ? ValueTask.FromResult<ulong?>(known) : stored.ReadCountAsync(place, cancellationToken);
    }
}
