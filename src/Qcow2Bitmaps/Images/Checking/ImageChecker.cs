using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Checking;

// Decisions: docs/decisions/images-checking.md.
/// <summary>Counts all uses of all clusters and compares them with the stored reference counts, like <c>qemu-img check</c>.</summary>
/// <remarks>
/// Each L2 table is read once for counting, and once more if a flag may be wrong, however many L1 entries refer to it. Holes are not read.
/// Neither a key nor a data file nor a backing file is needed.
/// </remarks>
internal sealed partial class ImageChecker
{
    // Eight slots of 4000 stripes of 64 bytes are 2 MiB; larger headers do not occur.
    private const ulong MaxEncryptionHeaderBytes = 64 << 20;

    private readonly ImageStorage _storage;
    private readonly ImageHandle _image;
    private readonly Qcow2Header _header;
    private readonly ImageGeometry _geometry;
    private readonly FindingLog _log;
    private readonly RepairKinds _repair;
    private readonly TableScanner _scanner;
    private readonly long _length;
    private readonly long _clusters;
    // Counts of uses; after the comparison, the stored counts of all used clusters.
    private ReferenceCounts _references;
    private long _countableClusters;
    private long _allocated;
    private long _fragmented;
    private long _compressed;
    private long _highestCluster;
    private readonly List<(long Cluster, long Excess)> _overflowed = [];
    private long _overflows;
    // Clusters past the end of the file that entries refer to: nothing may be allocated there.
    private readonly List<(long First, long Last)> _behindEnd = [];

    /// <summary>Prepares a check. Refuses a header that only a lenient reader accepts, because its values cannot be relied on.</summary>
    /// <param name="image">The image.</param>
    /// <param name="repair">What to repair.</param>
    /// <param name="log">Takes the findings.</param>
    public ImageChecker(ImageHandle image, RepairKinds repair, FindingLog log)
    {
        if (image.Header.CheckFaults(image.Limits).FirstOrDefault(fault => !CanFollow(fault, image.Header)) is { } fault)
        {
            throw new Qcow2FormatException(fault, image.Name);
        }

        ImageStorage storage = image.Storage;
        _storage = storage;
        _image = image;
        _repair = repair;
        _log = log;
        _header = image.Header;
        _geometry = image.Geometry;
        _scanner = new TableScanner(storage);
        _length = _scanner.LengthBytes;
        _clusters = _geometry.ClustersFor(_length);
        if (HasTooManyClusters(image))
        {
            throw IOException.Of($"'{storage.Name}': Check failed: {_clusters} clusters are too many, at most {int.MaxValue} are checked");
        }

        // Tables that do not overlap have no more clusters than the file.
        _countableClusters = 4 * (_clusters + 1);
        // The file may end inside the last cluster that is used.
        _references = new ReferenceCounts(_clusters + 1, RefcountBlock.MaxCount(_geometry.RefcountOrder));
    }

    /// <summary>
    /// Whether an image that a strict reader refuses may still be checked. The header's table fields are then checked again.
    /// </summary>
    public static bool CanCheckDespite(FormatFault fault) => fault.IsOfBitmaps || fault.Code is
        FaultCode.HeaderRefcountTable or FaultCode.HeaderSnapshotTable or FaultCode.SnapshotTableTruncated or FaultCode.SnapshotTableSize
            or FaultCode.SnapshotExtraData;

    /// <summary>Whether an image is too long to be checked. QEMU's limit: a sparse file can exceed it without taking any space.</summary>
    public static bool HasTooManyClusters(ImageHandle image) => image.Geometry.ClustersFor(image.Storage.Length) > int.MaxValue;

    /// <summary>QEMU checks images without reference counts.</summary>
    private static bool CanFollow(FormatFault fault, Qcow2Header header) =>
        fault.Code == FaultCode.HeaderRefcountTable && header.RefcountTableClusters == 0;

    /// <summary>Checks.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<CheckReport> CheckAsync(CancellationToken cancellationToken)
    {
        await CountAsync(cancellationToken).ConfigureAwait(false);
        RefcountReader stored = await CountRefcountsAsync(cancellationToken).ConfigureAwait(false);
        await CompareAsync(stored, isRepairing: false, cancellationToken).ConfigureAwait(false);
        await CheckFlagsAsync(stored, cancellationToken).ConfigureAwait(false);
        return Report();
    }

    /// <summary>Counts all uses without the limit of the image's refcount width. Those of an image that is too long to be checked are
    /// unknown.</summary>
    /// <exception cref="Qcow2FormatException">Only a lenient reader accepts the header.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<ClusterUses> CountUsesAsync(ImageHandle image, CancellationToken cancellationToken)
    {
        if (HasTooManyClusters(image))
        {
            return new ClusterUses(image.Geometry, null, []);
        }

        var log = new FindingLog();
        var checker = new ImageChecker(image, RepairKinds.None, log);
        checker._references = new ReferenceCounts(checker._clusters + 1, uint.MaxValue);
        await checker.CountAsync(cancellationToken).ConfigureAwait(false);
        await checker.CountRefcountsAsync(cancellationToken).ConfigureAwait(false);
        // Broken parts of bitmaps refer to no clusters.
        bool isKnown = !checker._missesUses && log.CheckErrors == 0;
        return new ClusterUses(checker._geometry, isKnown ? checker._references : null, checker._behindEnd);
    }

    /// <summary>Counts all uses except those of the refcount structures.</summary>
    private async ValueTask CountAsync(CancellationToken cancellationToken)
    {
        TellRefusals();
        SnapshotTable snapshots = await ReadSnapshotsAsync(cancellationToken).ConfigureAwait(false);
        CountRegion(0, _geometry.ClusterSizeBytes);
        await CountGuestAsync(snapshots, cancellationToken).ConfigureAwait(false);
        TellOverflows();
        await CountEncryptionHeaderAsync(cancellationToken).ConfigureAwait(false);
        await CountBitmapsAsync(cancellationToken).ConfigureAwait(false);
        TellOverflows();
    }

    private async ValueTask<RefcountReader> CountRefcountsAsync(CancellationToken cancellationToken)
    {
        RefcountReader stored = await RefcountReader.OpenAsync(_storage, _header, cancellationToken).ConfigureAwait(false);
        CountRefcounts(stored);
        TellOverflows();
        return stored;
    }

    private CheckReport Report() => new()
    {
        Corruptions = _log.Corruptions,
        Leaks = _log.Leaks,
        CheckErrors = _log.CheckErrors,
        CorruptionsFixed = _log.CorruptionsFixed,
        LeaksFixed = _log.LeaksFixed,
        TotalClusters = _geometry.ClustersFor(_geometry.VirtualSizeBytes),
        AllocatedClusters = _allocated,
        FragmentedClusters = _fragmented,
        CompressedClusters = _compressed,
        ImageEndOffset = (_highestCluster + 1) << _geometry.ClusterBits,
        Findings = _log.Told,
    };

    private void CountRegion(ulong offset, long size, long times = 1)
    {
        if (size <= 0)
        {
            return;
        }

        // The last cluster of a file may be cut short.
        if (offset > Faults.MaxOffset - (ulong)size || offset + (ulong)size >= (ulong)_length + (ulong)_geometry.ClusterSizeBytes)
        {
            _log.Corrupt(
                $"ERROR: counting reference for region exceeding the end of the file by one cluster or more: "
                + $"offset 0x{offset:x} size 0x{size:x}",
                times);
            NoteBehindEnd(offset, size);
            return;
        }

        long end = _geometry.ClusterAt(offset + (ulong)size - 1).Number + 1;
        long cluster = _geometry.ClusterAt(offset).Number;
        if (size > _geometry.ClusterSizeBytes && (_countableClusters -= end - cluster) < 0)
        {
            _log.Fail(
                $"The clusters from offset 0x{offset:x} to 0x{offset + (ulong)size:x} are not counted: tables overlap, "
                + $"together they are longer than the file");
            return;
        }

        CountClusters(cluster, end, times);
    }

    private void NoteBehindEnd(ulong offset, long size)
    {
        if (_behindEnd.Count < CheckReport.MaxKeptFindings)
        {
            ulong last = offset + Math.Min((ulong)size - 1, ulong.MaxValue - offset);
            _behindEnd.Add((_geometry.ClusterAt(offset).Number, _geometry.ClusterAt(last).Number));
        }
        else
        {
            _missesUses = true;
        }
    }

    private void CountClusters(long cluster, long end, long times)
    {
        while ((cluster = _references.AddRun(cluster, end, times, out ulong excess)) < end)
        {
            NoteOverflow(cluster++, excess);
        }
    }

    private void NoteOverflow(long cluster, ulong excess)
    {
        _overflows += (long)excess;
        if (_overflowed.Count < CheckReport.MaxKeptFindings)
        {
            _overflowed.Add((cluster, (long)excess));
        }
    }

    /// <summary>Logs counts that the image cannot store; the order in which uses are counted determines which one is reported as too
    /// many.</summary>
    private void TellOverflows()
    {
        foreach ((long cluster, long excess) in _overflowed)
        {
            for (long i = 0; i < excess && !_log.IsFull; i++)
            {
                _log.Corrupt(
                    $"ERROR: overflow cluster offset=0x{cluster << _geometry.ClusterBits:x}\nUse qemu-img amend to increase the refcount "
                    + $"entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing",
                    times: 0);
            }
        }

        _log.Count(_overflows);
        _overflowed.Clear();
        _overflows = 0;
    }

    /// <summary>Logs why a strict reader refuses the image, except for faults logged with bitmaps, snapshots and reference
    /// counts.</summary>
    private void TellRefusals()
    {
        foreach (FormatFault refusal in _image.Contents.Findings.Where(static finding =>
            finding.IsRefused && !finding.IsOfBitmaps && !IsOfSnapshots(finding.Code) && finding.Code != FaultCode.HeaderRefcountTable))
        {
            _log.Corrupt($"ERROR {refusal}");
        }
    }

    private async ValueTask CountEncryptionHeaderAsync(CancellationToken cancellationToken)
    {
        if (_image.Contents.First.CryptoHeader is not { } pointer)
        {
            return;
        }

        if (pointer.Length > MaxEncryptionHeaderBytes)
        {
            _log.Corrupt(
                $"ERROR: encryption header at offset 0x{pointer.Offset:x} has {pointer.Length} bytes, allowed: "
                + $"at most {MaxEncryptionHeaderBytes}");
            _missesUses = true;
            return;
        }

        CountRegion(pointer.Offset, (long)pointer.Length);
        if ((await _image.Contents.First.TryReadLuksHeaderAsync(_storage, cancellationToken).ConfigureAwait(false)).Fault is { } fault)
        {
            _log.Corrupt($"ERROR {fault}");
        }
    }
}
