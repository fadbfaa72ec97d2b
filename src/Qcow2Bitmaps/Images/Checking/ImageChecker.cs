using System.Globalization;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Counts every use of every cluster and compares with the stored reference counts, as <c>qemu-img check</c> does.</summary>
/// <remarks>
/// Each L2 table is read once for counting and once for its flags, however many L1 entries name it, so that the time is bounded by the
/// file's logical length. Neither a key nor a data file nor a backing file is needed.
/// </remarks>
internal sealed partial class ImageChecker
{
    // Eight slots of 4000 stripes of 64 bytes are 2 MiB; nobody makes more.
    private const ulong MaxEncryptionHeaderBytes = 64 << 20;
    private const long SmallestReadableBytes = 64 << 20;

    private readonly ImageStorage _storage;
    private readonly Qcow2Image _image;
    private readonly Qcow2Header _header;
    private readonly ImageGeometry _geometry;
    private readonly long _length;
    private readonly long _clusters;
    private readonly ReferenceCounts _references;
    private readonly List<CheckFinding> _findings = [];
    // How often each L2 table is named, by the active L1 table and by those of snapshots.
    private readonly Dictionary<long, long> _activeL2 = [];
    private readonly Dictionary<long, long> _snapshotL2 = [];
    private long _corruptions;
    private long _leaks;
    private long _checkErrors;
    private long _allocated;
    private long _fragmented;
    private long _compressed;
    private long _highestCluster;
    private long _readableBytes;

    /// <summary>Prepares a check; refuses a header that only a lenient reader takes, as what it says cannot be followed.</summary>
    public ImageChecker(ImageStorage storage, Qcow2Image image)
    {
        if (image.Header.Check(image.Limits) is { } fault)
        {
            throw new Qcow2FormatException(fault, image.Name);
        }

        _storage = storage;
        _image = image;
        _header = image.Header;
        _geometry = image.Geometry;
        _length = storage.Length;
        _clusters = _geometry.ClustersFor(_length);
        if (_clusters > int.MaxValue)
        {
            // QEMU's limit. Sparse files reach it without costing their maker anything.
            throw new IOException($"'{PrintableText.Escape(storage.Name)}': Check failed: {_clusters} clusters are too many, at most {int.MaxValue} are checked");
        }

        _readableBytes = (4 * _length) + SmallestReadableBytes;
        // The file may end inside the last cluster that is used.
        _references = new ReferenceCounts(_clusters + 1, RefcountBlock.MaxCount(_geometry.RefcountOrder));
    }

    public async ValueTask<CheckReport> CheckAsync(CancellationToken cancellationToken)
    {
        CountRegion(0, _geometry.ClusterSizeBytes);
        ulong[] activeL1 = await CountL1Async(_header.L1TableOffset, _header.L1Size, 1, _activeL2, cancellationToken).ConfigureAwait(false);
        await CountSnapshotsAsync(cancellationToken).ConfigureAwait(false);
        await CountL2TablesAsync(activeL1, cancellationToken).ConfigureAwait(false);
        CountEncryptionHeader();
        await CountBitmapsAsync(cancellationToken).ConfigureAwait(false);
        StoredRefcounts stored = await StoredRefcounts.OpenAsync(_storage, _header, cancellationToken).ConfigureAwait(false);
        CountRefcounts(stored);
        await CompareAsync(stored, cancellationToken).ConfigureAwait(false);
        await CheckCopiedFlagsAsync(stored, activeL1, cancellationToken).ConfigureAwait(false);
        return new CheckReport
        {
            Corruptions = _corruptions,
            Leaks = _leaks,
            CheckErrors = _checkErrors,
            TotalClusters = _geometry.ClustersFor(_geometry.VirtualSizeBytes),
            AllocatedClusters = _allocated,
            FragmentedClusters = _fragmented,
            CompressedClusters = _compressed,
            ImageEndOffset = (_highestCluster + 1) << _geometry.ClusterBits,
            Findings = _findings,
        };
    }

    /// <summary>A corruption that is met as often as its table is named.</summary>
    private void Corrupt(FormattableString message, long times = 1)
    {
        _corruptions += times;
        for (long i = 0; i < times && _findings.Count < CheckReport.MaxKeptFindings; i++)
        {
            Keep(CheckFindingKind.Corruption, message);
        }
    }

    private void Keep(CheckFindingKind kind, FormattableString message)
    {
        if (_findings.Count < CheckReport.MaxKeptFindings)
        {
            _findings.Add(new CheckFinding(kind, message.ToString(CultureInfo.InvariantCulture)));
        }
    }

    private void CountRegion(ulong offset, long size, long times = 1)
    {
        if (size <= 0)
        {
            return;
        }

        // The last cluster of a file may be cut short.
        if (offset > Faults.MaxOffset - (ulong)size || offset + (ulong)size >= (ulong)_length + (ulong)_geometry.ClusterSizeBytes)
        {
            Corrupt($"ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x{offset:x} size 0x{size:x}", times);
            return;
        }

        long last = (long)_geometry.ClusterIndex(offset + (ulong)size - 1);
        for (long cluster = (long)_geometry.ClusterIndex(offset); cluster <= last; cluster++)
        {
            if (!_references.TryAdd(cluster, times))
            {
                Corrupt($"ERROR: overflow cluster offset=0x{cluster << _geometry.ClusterBits:x}\nUse qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing");
            }
        }
    }

    private void CountEncryptionHeader()
    {
        if (_image.CryptoHeader is not { } pointer)
        {
            return;
        }

        if (pointer.Length > MaxEncryptionHeaderBytes)
        {
            Corrupt($"ERROR: encryption header at offset 0x{pointer.Offset:x} has {pointer.Length} bytes, allowed: at most {MaxEncryptionHeaderBytes}");
            return;
        }

        CountRegion(pointer.Offset, (long)pointer.Length);
    }

    private async ValueTask CountBitmapsAsync(CancellationToken cancellationToken)
    {
        foreach (FormatFault finding in _image.Findings.Where(static finding => finding.IsOfBitmaps && !IsHarmless(finding.Code)))
        {
            // A lenient reader's: QEMU cannot open such an image, and so not check it.
            Corrupt($"ERROR {finding}");
        }

        if (_image.BitmapDirectory is not { } directory)
        {
            return;
        }

        CountRegion(directory.DirectoryOffset, (long)directory.DirectorySizeBytes);
        foreach (BitmapInfo bitmap in _image.Bitmaps.Where(static bitmap => bitmap.Faults.Count == 0))
        {
            CountRegion(bitmap.TableOffset, (long)bitmap.TableEntries * ImageGeometry.TableEntryBytes);
            foreach (ulong raw in await ReadTableAsync(bitmap.TableOffset, bitmap.TableEntries, cancellationToken).ConfigureAwait(false))
            {
                var entry = new BitmapTableEntry(raw);
                if (entry.Check(_geometry.ClusterBits) != FaultCode.None)
                {
                    Corrupt($"ERROR bitmap '{PrintableText.Escape(bitmap.Name)}': table entry 0x{raw:x} is not allowed");
                }
                else if (entry.HasData)
                {
                    CountRegion(entry.Offset, _geometry.ClusterSizeBytes);
                }
            }
        }
    }

    /// <summary>What the specification forbids and does no harm, and what the counting of leaks shows anyway.</summary>
    private static bool IsHarmless(FaultCode code) => code is
        FaultCode.BitmapsExtensionAutoclearOff or FaultCode.BitmapsExtensionMissing or FaultCode.BitmapName or FaultCode.BitmapPadding or FaultCode.BitmapInUse;

    /// <summary>Reads a table of big-endian words; what lies behind the file's end is left out.</summary>
    /// <remarks>
    /// Tables that overlap could make a small file cost any time. Tables that do not are read twice at most and are together no longer than the
    /// file; whatever claims more is not read, which is an error of the check.
    /// </remarks>
    private async ValueTask<ulong[]> ReadTableAsync(ulong offset, uint entries, CancellationToken cancellationToken)
    {
        if (offset >= (ulong)_length)
        {
            return [];
        }

        _readableBytes -= Math.Min((long)entries * sizeof(ulong), _length - (long)offset);
        if (_readableBytes < 0)
        {
            _checkErrors++;
            Keep(CheckFindingKind.CheckError, $"The table at offset 0x{offset:x} is not checked: tables overlap, together they are longer than the file");
            return [];
        }

        return await BigEndianTable.ReadAsync(_storage, offset, entries, cancellationToken).ConfigureAwait(false);
    }
}
