using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Counts what L1 tables use (the active one and those of snapshots), and logs the findings in QEMU's order.</summary>
internal sealed partial class ImageChecker
{
    // One per reference to a table, until they are merged.
    private readonly List<L2Table> _l2Tables = [];
    private L1Table _activeL1 = null!;
    // Whether anything shows that a cluster has more than one owner.
    private bool _hasShared;
    // Whether something in use could not be counted, so that apparent leaks may be in use. QEMU frees them.
    private bool _missesUses;

    /// <summary>Whether entries of the snapshot table must be completed once counts are right.</summary>
    public bool MustCompleteSnapshots { get; private set; }

    /// <summary>Reads the snapshot table as QEMU does for a check: bytes past the end of the file are zeros.</summary>
    private async ValueTask<SnapshotTable> ReadSnapshotsAsync(CancellationToken cancellationToken)
    {
        SnapshotTable table = _image.Contents.Snapshots;
        FormatFault? cutOff = null;
        FormatFault? refusal = RefusalOf(_image.Contents.Findings);
        if (refusal is { Code: FaultCode.SnapshotTableTruncated })
        {
            cutOff = refusal;
            var log = new FaultLog(Strictness.Lenient, _image.Name);
            table = await SnapshotTableReader.ReadAsync(
                _storage, _header, _image.Limits, log, zeroFilled: true, cancellationToken).ConfigureAwait(false);
            refusal = RefusalOf(log.Findings);
        }

        if (refusal is not null)
        {
            _log.Fail($"ERROR {refusal}");
        }

        // Clusters that the lost entries referred to look leaked.
        _missesUses |= (refusal ?? cutOff) is not null;
        long before = _log.Corruptions;
        for (int i = 0; i < table.Snapshots.Count; i++)
        {
            if (_header.Version < 3 || table.Snapshots[i].ExtraDataBytes >= SnapshotEntry.MinVersion3ExtraDataBytes)
            {
                continue;
            }

            // Entries past the end of the file are lost: QEMU turns them into snapshots without a name.
            if (_repair.HasFlag(RepairKinds.Corruptions) && ReferenceEquals(table, _image.Contents.Snapshots))
            {
                _log.FixCorruption($"Repairing snapshot table entry {i} is incomplete");
                MustCompleteSnapshots = true;
            }
            else
            {
                _log.Corrupt($"ERROR snapshot table entry {i} is incomplete");
            }
        }

        if (cutOff is not null && _log.Corruptions == before)
        {
            // QEMU opens such an image, and finds no fault if zeros make whole entries.
            _log.Corrupt($"ERROR {cutOff}");
        }

        return table;
    }

    private static bool IsOfSnapshots(FaultCode code) => code is
        FaultCode.HeaderSnapshotTable or FaultCode.SnapshotTableTruncated or FaultCode.SnapshotTableSize or FaultCode.SnapshotExtraData
            or FaultCode.SnapshotL1Table;

    private static FormatFault? RefusalOf(IReadOnlyList<FormatFault> findings) =>
        findings.FirstOrDefault(static finding => finding.IsRefused && IsOfSnapshots(finding.Code));

    private async ValueTask CountGuestAsync(SnapshotTable snapshots, CancellationToken cancellationToken)
    {
        _activeL1 = new L1Table(_header.L1TableOffset, _header.L1Size) { IsActive = true, Times = 1 };
        L1Table?[] ofSnapshots = FindL1Tables(snapshots.Snapshots);
        _log.Hold();
        await CountL1Async(_activeL1, cancellationToken).ConfigureAwait(false);
        foreach (L1Table l1 in ofSnapshots.OfType<L1Table>().Distinct())
        {
            await CountL1Async(l1, cancellationToken).ConfigureAwait(false);
        }

        MergeL2Tables();
        Dictionary<long, List<CheckFinding>> ofTables = await CountL2TablesAsync(cancellationToken).ConfigureAwait(false);
        _log.EndHolding();
        await TellAsync(_activeL1, ofTables, cancellationToken).ConfigureAwait(false);
        for (int i = 0; i < ofSnapshots.Length; i++)
        {
            if (ofSnapshots[i] is { } l1)
            {
                await TellAsync(l1, ofTables, cancellationToken).ConfigureAwait(false);
            }
            else
            {
                TellBroken(snapshots.Snapshots[i]);
            }
        }

        CountRegion(_header.SnapshotsOffset, snapshots.LengthBytes);
    }

    /// <summary>The L1 table of each snapshot; null if it is invalid. Snapshots may share a table.</summary>
    private L1Table?[] FindL1Tables(IReadOnlyList<SnapshotInfo> snapshots)
    {
        var tables = new Dictionary<(ulong Offset, uint Entries), L1Table>();
        var found = new L1Table?[snapshots.Count];
        for (int i = 0; i < found.Length; i++)
        {
            SnapshotInfo snapshot = snapshots[i];
            if (!HasL1Offset(snapshot) || snapshot.L1Size > _image.Limits.MaxL1TableBytes / ImageGeometry.TableEntryBytes)
            {
                continue;
            }

            ref L1Table? l1 = ref CollectionsMarshal.GetValueRefOrAddDefault(tables, (snapshot.L1TableOffset, snapshot.L1Size), out _);
            l1 ??= new L1Table(snapshot.L1TableOffset, snapshot.L1Size);
            l1.Times++;
            found[i] = l1;
        }

        return found;
    }

    private bool HasL1Offset(SnapshotInfo snapshot) =>
        _geometry.IsClusterAligned(snapshot.L1TableOffset) && snapshot.L1TableOffset <= Faults.MaxOffset;

    private void TellBroken(SnapshotInfo snapshot)
    {
        _missesUses = true;
        if (!HasL1Offset(snapshot))
        {
            _log.Corrupt(
                $"ERROR snapshot {snapshot.Id} ({snapshot.Name}) l1_offset=0x{snapshot.L1TableOffset:x}: L1 table is not cluster aligned; "
                + $"snapshot table entry corrupted");
        }
        else
        {
            _log.Corrupt(
                $"ERROR snapshot {snapshot.Id} ({snapshot.Name}) l1_size=0x{snapshot.L1Size:x}: L1 table is too large; "
                + $"snapshot table entry corrupted");
        }
    }

    private async ValueTask CountL1Async(L1Table l1, CancellationToken cancellationToken)
    {
        CountRegion(l1.Offset, ImageGeometry.BytesOfEntries(l1.Entries), l1.Times);
        HoldFor(l1, index: -1);
        await ForEachEntryAsync(
            l1,
            (index, raw) =>
            {
                CountL1Entry(l1, new L1Entry(raw));
                HoldFor(l1, index);
            },
            cancellationToken).ConfigureAwait(false);
        FailIfRefused(l1.Offset);
        HoldFor(l1, int.MaxValue);
    }

    private void CountL1Entry(L1Table l1, L1Entry entry)
    {
        if (entry.Check(_geometry.ClusterBits) == FaultCode.L1EntryReserved)
        {
            _log.Corrupt($"ERROR found L1 entry with reserved bits set: {entry.Raw:x}", l1.Times);
        }

        CountRegion(entry.L2TableOffset, _geometry.ClusterSizeBytes, l1.Times);
        if (!_geometry.IsClusterAligned(entry.L2TableOffset))
        {
            _log.Corrupt($"ERROR l2_offset={entry.L2TableOffset:x}: Table is not cluster aligned; L1 entry corrupted", l1.Times);
        }

        _hasShared |= l1.IsActive && !entry.IsCopied;
        _l2Tables.Add(new L2Table((long)entry.L2TableOffset, l1.Times, l1.IsActive ? 1 : 0));
    }

    /// <summary>Visits the entries of an L1 table that are not 0. An entry with flags but offset 0 refers to the first cluster as a
    /// table.</summary>
    private async ValueTask ForEachEntryAsync(L1Table l1, Action<int, ulong> visit, CancellationToken cancellationToken)
    {
        (long start, long end) = _scanner.Clip(l1.Offset, ImageGeometry.BytesOfEntries(l1.Entries));
        long position = start;
        while (await _scanner.NextAsync(position, end, cancellationToken).ConfigureAwait(false) is { Bytes.IsEmpty: false } piece)
        {
            int first = (int)((piece.Offset - start) / ImageGeometry.TableEntryBytes);
            ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(piece.Bytes.Span);
            for (int i = 0; i < words.Length; i++)
            {
                if (words[i] != 0)
                {
                    visit(first + i, BinaryPrimitives.ReverseEndianness(words[i]));
                }
            }

            position = piece.EndOffset;
        }
    }

    /// <summary>Merges references to the same table, in file order.</summary>
    private void MergeL2Tables()
    {
        Span<L2Table> tables = CollectionsMarshal.AsSpan(_l2Tables);
        tables.Sort(static (a, b) => a.Offset.CompareTo(b.Offset));
        int count = 0;
        foreach (L2Table table in tables)
        {
            if (count > 0 && tables[count - 1].Offset == table.Offset)
            {
                L2Table same = tables[count - 1];
                tables[count - 1] = new L2Table(table.Offset, same.Times + table.Times, same.ActiveTimes + table.ActiveTimes);
            }
            else
            {
                tables[count++] = table;
            }
        }

        _l2Tables.RemoveRange(count, _l2Tables.Count - count);
    }

    private void HoldFor(L1Table l1, int index)
    {
        if (_log.TakeHeld() is { Count: > 0 } held)
        {
            l1.Findings.Add((index, held));
        }
    }

    /// <summary>Logs the findings of an L1 table and, with each of its entries, those of the L2 table that the entry refers to.</summary>
    private async ValueTask TellAsync(L1Table l1, Dictionary<long, List<CheckFinding>> ofTables, CancellationToken cancellationToken)
    {
        if (_log.IsFull)
        {
            return;
        }

        if (l1.InOrder is null)
        {
            l1.InOrder = [];
            int next = 0;
            if (ofTables.Count > 0)
            {
                await ForEachEntryAsync(
                    l1,
                    (index, raw) =>
                    {
                        next = Gather(l1, next, index);
                        if (ofTables.TryGetValue((long)new L1Entry(raw).L2TableOffset, out List<CheckFinding>? held)
                            && l1.InOrder.Count < CheckReport.MaxKeptFindings)
                        {
                            l1.InOrder.AddRange(held);
                            // Repaired entries are valid when the table is met again.
                            held.RemoveAll(static finding => finding.Kind == CheckFindingKind.Repair);
                        }
                    },
                    cancellationToken).ConfigureAwait(false);
            }

            Gather(l1, next, int.MaxValue);
        }

        _log.Tell(l1.InOrder);
        l1.InOrder.RemoveAll(static finding => finding.Kind == CheckFindingKind.Repair);
    }

    /// <summary>Logs the findings of an L1 table's entries up to an index.</summary>
    private static int Gather(L1Table l1, int next, int lastIndex)
    {
        for (; next < l1.Findings.Count && l1.Findings[next].Index <= lastIndex; next++)
        {
            l1.InOrder!.AddRange(l1.Findings[next].Held);
        }

        return next;
    }
}
