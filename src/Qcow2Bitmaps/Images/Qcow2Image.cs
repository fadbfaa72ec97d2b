using System.Runtime.CompilerServices;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Images.Editing;
using Qcow2Bitmaps.Images.Guest;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images;

/// <summary>One open qcow2 image: its header, its names, its snapshots and its persistent bitmaps.</summary>
/// <remarks>
/// Opening reads the first cluster, the snapshot table and the bitmap directory, nothing else; it opens no other file, and
/// needs no key, data file or backing file. Thread-safe; edits of one image exclude one another.
/// </remarks>
public sealed partial class Qcow2Image : IAsyncDisposable
{
    private readonly ImageStorage _storage;
    private readonly bool _leaveOpen;
    private readonly ImageGate _editing = new();
    private volatile ImageContents _contents;
    // Whether the file may say something else.
    private volatile bool _isStale;

    private Qcow2Image(ImageStorage storage, bool leaveOpen, Qcow2OpenOptions options, ImageContents contents)
    {
        _storage = storage;
        _leaveOpen = leaveOpen;
        _contents = contents;
        Strictness = options.Strictness;
        Limits = options.Limits;
        Bitmaps = new BitmapCollection(storage, this);
    }

    /// <summary>What the image is called: the path that was given.</summary>
    public string Name => _storage.Name;

    /// <summary>How the image was opened.</summary>
    public Strictness Strictness { get; }

    /// <summary>The header.</summary>
    public Qcow2Header Header => _contents.First.Header;

    /// <summary>The header extensions in their order, known and unknown ones, without the end marker.</summary>
    public IReadOnlyList<RawHeaderExtension> Extensions => _contents.First.Extensions;

    /// <summary>The cluster arithmetic.</summary>
    public ImageGeometry Geometry => _contents.First.Header.Geometry;

    /// <summary>The disk's size in bytes: whole sectors of 512, as QEMU counts.</summary>
    public long VirtualSizeBytes => Geometry.VirtualSizeBytes;

    /// <summary>The size of a cluster in bytes.</summary>
    public int ClusterSizeBytes => Geometry.ClusterSizeBytes;

    /// <summary>The backing file's name as stored, to be resolved relative to this image; null without one. Untrusted.</summary>
    public string? BackingFile => _contents.First.BackingFile;

    /// <summary>The backing file's format as stored; null when the image does not say.</summary>
    public string? BackingFormat => _contents.First.BackingFormat;

    /// <summary>The external data file's name as stored; null when there is none. Untrusted.</summary>
    public string? DataFile => _contents.First.DataFile;

    /// <summary>How guest data are encrypted.</summary>
    public EncryptionMethod Encryption => (EncryptionMethod)_contents.First.Header.CryptMethod;

    /// <summary>The internal snapshots.</summary>
    public IReadOnlyList<SnapshotInfo> Snapshots => _contents.Snapshots.Snapshots;

    /// <summary>The persistent bitmaps that QEMU would show; a lenient reader lists broken and ignored ones too.</summary>
    public BitmapCollection Bitmaps { get; }

    /// <summary>What was wrong and did not end the opening: for a lenient reader all faults, else those that QEMU does not mind.</summary>
    public IReadOnlyList<FormatFault> Findings => _contents.Findings;

    /// <summary>How many bytes of disk the image's file occupies; null when that is not known.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public long? AllocatedBytes => _storage.AllocatedBytes;

    internal Qcow2Limits Limits { get; }

    internal CryptoHeaderPointer? CryptoHeader => _contents.First.CryptoHeader;

    /// <summary>Where the directory is that <see cref="Bitmaps"/> was read from.</summary>
    internal BitmapsExtension? BitmapDirectory => _contents.First.Bitmaps;

    /// <summary>What was read when the image was opened, or after the last edit.</summary>
    internal ImageContents Contents => _contents;

    /// <summary>Opens an image file or block device for reading.</summary>
    /// <inheritdoc cref="OpenAsync(string, StorageAccess, Qcow2OpenOptions?, CancellationToken)"/>
    public static Task<Qcow2Image> OpenAsync(
        string path, Qcow2OpenOptions? options = null, CancellationToken cancellationToken = default) =>
        OpenAsync(path, StorageAccess.Read, options, cancellationToken);

    /// <summary>Opens an image file or block device.</summary>
    /// <param name="path">The path.</param>
    /// <param name="access">What for. Whoever writes takes QEMU's locks of a writer, unless the options ask for none.</param>
    /// <param name="options">How; the defaults when null.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The image, to be disposed. Opening writes nothing.</returns>
    /// <exception cref="Qcow2FormatException">The file is no qcow2 image, or a broken one.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image needs a feature that is not known here.</exception>
    /// <exception cref="ImageLockedException">Somebody else uses the image in a way that excludes this one.</exception>
    /// <exception cref="IOException">The file cannot be opened or read.</exception>
    public static async Task<Qcow2Image> OpenAsync(
        string path, StorageAccess access, Qcow2OpenOptions? options = null, CancellationToken cancellationToken = default)
    {
        options ??= Qcow2OpenOptions.Default;
        ImageLock imageLock = access == StorageAccess.ReadWrite && options.Lock != ImageLock.None ? ImageLock.Write : options.Lock;
        var storage = FileStorage.Open(path, access, imageLock);
        storage.Discard = options.Discard;
        return await OpenAsync(storage, options, leaveOpen: false, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Opens an image in a storage; it can be written if the storage can.</summary>
    /// <param name="storage">The storage; its locks are the caller's business.</param>
    /// <param name="options">How; the defaults when null.</param>
    /// <param name="leaveOpen">Whether the storage stays open when the image is disposed, or cannot be opened.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The image, to be disposed.</returns>
    /// <exception cref="Qcow2FormatException">The storage holds no qcow2 image, or a broken one.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image needs a feature that is not known here.</exception>
    /// <exception cref="IOException">The storage cannot be read.</exception>
    public static async Task<Qcow2Image> OpenAsync(
        ImageStorage storage, Qcow2OpenOptions? options = null, bool leaveOpen = false, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(storage);
        options ??= Qcow2OpenOptions.Default;
        try
        {
            ImageContents contents = await ImageContents.ReadAsync(storage, options.Strictness, options.Limits, cancellationToken).ConfigureAwait(false);
            return new Qcow2Image(storage, leaveOpen, options, contents);
        }
        catch when (!leaveOpen)
        {
            await storage.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Opens an image for <see cref="CheckAsync"/>, also one that QEMU cannot open and that can be checked all the same.</summary>
    /// <remarks>
    /// The image is opened as strictly as the options say, and leniently where its bitmaps, its snapshot table or its reference counts stand in the way.
    /// </remarks>
    /// <param name="storage">The storage, which stays open; its locks are the caller's business.</param>
    /// <param name="options">How; the defaults when null.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The image, to be disposed.</returns>
    /// <exception cref="Qcow2FormatException">The storage holds no qcow2 image, or one that is too broken to be checked.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image needs a feature that is not known here.</exception>
    /// <exception cref="IOException">The storage cannot be read.</exception>
    public static async Task<Qcow2Image> OpenForCheckAsync(
        ImageStorage storage, Qcow2OpenOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(storage);
        options ??= Qcow2OpenOptions.Default;
        try
        {
            return await OpenAsync(storage, options, leaveOpen: true, cancellationToken).ConfigureAwait(false);
        }
        catch (Qcow2FormatException e) when (ImageChecker.CanCheckDespite(e.Fault))
        {
            return await OpenAsync(storage, options with { Strictness = Strictness.Lenient }, leaveOpen: true, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Says whether the file ends before clusters that the image names, of the disk, of snapshots or of bitmaps: then it was probably not copied whole. Tables alone are read, no data file.</summary>
    /// <param name="trustsCounts">
    /// Whether no tables are read where no reference count is of a cluster behind the end: that costs next to nothing, and misses what a repair of a cut image has uncounted, and what is cut off of the last cluster.
    /// </param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>Where the file ends and where it would have to; null where all is there.</returns>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<FormatFault?> FindTruncationAsync(bool trustsCounts = false, CancellationToken cancellationToken = default) =>
        trustsCounts && await RefcountReader.IsInsideFileAsync(_storage, Header, Limits, cancellationToken).ConfigureAwait(false)
            ? null
            : await NamedEnd.FindFaultAsync(this, cancellationToken).ConfigureAwait(false);

    /// <summary>Counts every use of every cluster and compares with the stored reference counts, as <c>qemu-img check</c> does. Nothing is repaired.</summary>
    /// <remarks>
    /// Of an image that was opened leniently the faults that a strict reader refuses count as corruptions, or as errors of the check where they hide what is in use; broken bitmaps own no clusters, so that theirs are leaks.
    /// Of an image whose autoclear bit is off the bitmaps own nothing. A table of an inconsistent bitmap with an entry that cannot be is a corruption,
    /// where QEMU gives the check up.
    /// </remarks>
    /// <param name="cancellationToken">Ends the check.</param>
    /// <returns>What was found.</returns>
    /// <exception cref="Qcow2FormatException">The header is one that only a lenient reader takes.</exception>
    /// <exception cref="IOException">The storage failed, or the file has more than 2^31-1 clusters.</exception>
    public async ValueTask<CheckReport> CheckAsync(CancellationToken cancellationToken = default) =>
        await new ImageChecker(this, RepairKinds.None, new FindingLog()).CheckAsync(cancellationToken).ConfigureAwait(false);

    /// <summary>Checks the image and repairs what was found, as <c>qemu-img check -r</c> does; then, where anything was repaired, checks it again.</summary>
    /// <remarks>
    /// To be used on an image from <see cref="OpenForCheckAsync"/> whose storage can be written. A stop at any byte leaves the image as before, as after, or
    /// repaired in part, never worse than it was. Counts are not lowered while something in use could not be counted (a snapshot or a bitmap whose
    /// entry is broken), because what looks like a leak may then be its data: QEMU frees it. Where nothing is wrong, the dirty and the corrupt bit are cleared.
    /// </remarks>
    /// <param name="kinds">What may be repaired.</param>
    /// <param name="cancellationToken">Ends the work, between two writes.</param>
    /// <returns>What is left, what was repaired, and how often.</returns>
    /// <exception cref="Qcow2FormatException">The image is too broken to be checked.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image is open for reading only, or its header has no room for what is to be written.</exception>
    /// <exception cref="NoSpaceException">There is no room for what is to be written, on a storage that cannot grow.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<CheckReport> RepairAsync(RepairKinds kinds, CancellationToken cancellationToken = default)
    {
        if (!_storage.CanWrite)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.ReadOnly, $"'{Name}' is open for reading only");
        }

        await EnterAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            return await RepairLockedAsync(kinds, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _editing.Release();
        }
    }

    /// <summary>Whether another process has the image open for writing, as its locks tell; then flags <c>in-use</c> are as they should be.</summary>
    public bool IsOpenForWritingElsewhere() => _storage.IsOpenForWritingElsewhere();

    /// <summary>Reads what the LUKS header says without a key.</summary>
    /// <param name="findings">Takes, for a lenient reader, what is wrong with the header.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The header; null when the image is not encrypted with LUKS, or for a lenient reader when there is no header where the image says.</returns>
    /// <exception cref="Qcow2FormatException">There is no LUKS header where the image says.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<LuksHeader?> ReadLuksHeaderAsync(
        ICollection<FormatFault>? findings = null, CancellationToken cancellationToken = default)
    {
        (LuksHeader? header, FormatFault? fault) = await TryReadLuksHeaderAsync(cancellationToken).ConfigureAwait(false);
        var log = new FaultLog(Strictness, Name);
        log.Report(fault);
        log.CopyTo(findings);
        return header;
    }

    /// <summary>As <see cref="ReadLuksHeaderAsync"/>, with what is wrong beside the header.</summary>
    internal async ValueTask<(LuksHeader? Header, FormatFault? Fault)> TryReadLuksHeaderAsync(CancellationToken cancellationToken)
    {
        if (_contents.First.CryptoHeader is not { } pointer)
        {
            return default;
        }

        var bytes = new byte[LuksHeader.SizeBytes];
        int read = await _storage.ReadAsync((long)pointer.Offset, bytes, cancellationToken).ConfigureAwait(false);
        _ = LuksHeader.TryRead(bytes.AsSpan(0, read), pointer.Offset, out LuksHeader? header, out FormatFault? fault);
        return (header, fault);
    }

    /// <summary>Closes the image's storage, unless it was to be left open.</summary>
    public ValueTask DisposeAsync()
    {
        _editing.Dispose();
        return _leaveOpen ? ValueTask.CompletedTask : _storage.DisposeAsync();
    }

    /// <summary>The storage, for those who write the image.</summary>
    internal ImageStorage Storage => _storage;

    /// <summary>Held by whoever edits the image.</summary>
    internal ImageGate Editing => _editing;

    /// <summary>See <see cref="BitmapCollection.EditAsync(BitmapEdit, CancellationToken)"/>.</summary>
    internal async ValueTask EditBitmapsAsync(BitmapEdit edit, CancellationToken cancellationToken)
    {
        await EnterAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            RequireNotRecorded();
            RequireNoInterruptedEdit();
            await EditBitmapsLockedAsync(edit, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _editing.Release();
        }
    }

    /// <summary>As <see cref="EditBitmapsAsync"/>, for who holds <see cref="Editing"/>.</summary>
    internal async ValueTask EditBitmapsLockedAsync(BitmapEdit edit, CancellationToken cancellationToken)
    {
        PreparedEdit? prepared = await PreparedEdit.PrepareAsync(this, edit, cancellationToken).ConfigureAwait(false);
        if (prepared is null)
        {
            return;
        }

        try
        {
            await prepared.Transaction.SwitchOrRollBackAsync().ConfigureAwait(false);
            await prepared.ReleaseAsync().ConfigureAwait(false);
        }
        finally
        {
            await ReloadAfterSwitchAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Reads again what an edit may have changed.</summary>
    internal async ValueTask ReloadAsync()
    {
        _isStale = true;
        _contents = await ImageContents.ReadAsync(_storage, Strictness, Limits, CancellationToken.None).ConfigureAwait(false);
        _isStale = false;
    }

    /// <summary>As <see cref="ReloadAsync"/>, also when the storage failed: what is on disk now counts. Where it cannot be read, who edits next tries again.</summary>
    internal async ValueTask ReloadAfterSwitchAsync() =>
        _ = await Leftovers.TidyAsync($"'{Name}' cannot be read again after a change of its metadata", ReloadAsync).ConfigureAwait(false);

    /// <summary>Waits for <see cref="Editing"/>, and knows then what is on disk.</summary>
    internal async ValueTask EnterAsync(CancellationToken cancellationToken)
    {
        await _editing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_isStale)
            {
                await ReloadAsync().ConfigureAwait(false);
            }
        }
        catch
        {
            _editing.Release();
            throw;
        }
    }

    /// <summary>Brings reference counts up to date that a crash has left behind. For who holds <see cref="Editing"/>.</summary>
    internal async ValueTask RepairIfDirtyAsync(CancellationToken cancellationToken)
    {
        // A corrupt image is not touched unasked.
        if (_storage.CanWrite && (Header.IncompatibleFeatures & (IncompatibleFeatures.Dirty | IncompatibleFeatures.Corrupt)) == IncompatibleFeatures.Dirty)
        {
            await RepairLockedAsync(RepairKinds.All, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Refuses to change bitmaps behind the back of a session that keeps them in memory, and the disk's size or content behind that of what it records. For who holds <see cref="Editing"/>.</summary>
    internal void RequireNotRecorded()
    {
        if (_editing.Recorder is not null)
        {
            throw new InvalidOperationException(PrintableMessage.Of($"'{Name}': a recording session keeps the image's bitmaps in memory; change them there"));
        }
    }

    /// <summary>Refuses an edit that would make an interrupted one of several images impossible to finish.</summary>
    private void RequireNoInterruptedEdit()
    {
        if (_storage is FileStorage && BitmapEditSet.JournalPathOf(Name) is var journal && DurableFile.Exists(journal))
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.InterruptedEdit,
                $"'{Name}': an edit of several images was interrupted, as '{journal}' says. Finish it first, with all its images: 'bitmap --recover', this one first, or BitmapEditSet.RecoverAsync");
        }
    }

    private async ValueTask<CheckReport> RepairLockedAsync(RepairKinds kinds, CancellationToken cancellationToken)
    {
        var log = new FindingLog();
        RepairKinds counts = kinds & RepairKinds.All;
        CheckReport? report = null;
        try
        {
            await ClearUnknownAutoclearAsync(cancellationToken).ConfigureAwait(false);
            if (counts != RepairKinds.None)
            {
                report = await RepairCountsAsync(counts, log, cancellationToken).ConfigureAwait(false);
            }

            if (kinds.HasFlag(RepairKinds.Bitmaps))
            {
                long before = log.CorruptionsFixed;
                await RepairBitmapsAsync(log, cancellationToken).ConfigureAwait(false);
                await ReloadAsync().ConfigureAwait(false);
                if (counts != RepairKinds.None && log.CorruptionsFixed > before)
                {
                    // What the bitmaps no longer have are leaks, and all that is in use can be counted now.
                    log.Recount(0, 0, 0);
                    report = await RepairCountsAsync(counts, log, cancellationToken).ConfigureAwait(false);
                }
            }
        }
        finally
        {
            await ReloadAsync().ConfigureAwait(false);
        }

        if (report is not null && log.CorruptionsFixed + log.LeaksFixed == 0)
        {
            return report;
        }

        CheckReport after = await CheckAsync(cancellationToken).ConfigureAwait(false);
        return after with { CorruptionsFixed = log.CorruptionsFixed, LeaksFixed = log.LeaksFixed, Repairs = log.Told };
    }

    /// <summary>Clears autoclear bits that are not known here: the specification asks that of whoever opens for writing, whether there is something to write or not.</summary>
    internal async ValueTask ClearUnknownAutoclearAsync(CancellationToken cancellationToken)
    {
        SwitchPlan plan = await new HeaderChange().PlanAsync(_storage, Header, cancellationToken).ConfigureAwait(false);
        if (!plan.IsEmpty)
        {
            await plan.ApplyAsync(_storage).ConfigureAwait(false);
            await ReloadAsync().ConfigureAwait(false);
        }
    }

    private async ValueTask<CheckReport> RepairCountsAsync(RepairKinds kinds, FindingLog log, CancellationToken cancellationToken)
    {
        var checker = new ImageChecker(this, kinds, log);
        CheckReport report = await checker.RepairAsync(cancellationToken).ConfigureAwait(false);
        if (checker.MustCompleteSnapshots && report.CheckErrors == 0)
        {
            await ReloadAsync().ConfigureAwait(false);
            await SnapshotTableRepair.RunAsync(_storage, _contents, Limits, cancellationToken).ConfigureAwait(false);
        }

        return report;
    }

    /// <summary>Repairs bitmaps through a lenient reader, who lists what is broken.</summary>
    private async ValueTask RepairBitmapsAsync(FindingLog log, CancellationToken cancellationToken)
    {
        Qcow2Image lenient = await OpenAsync(
            _storage, new Qcow2OpenOptions { Strictness = Strictness.Lenient, Limits = Limits }, leaveOpen: true, cancellationToken).ConfigureAwait(false);
        await using ConfiguredAsyncDisposable closing = lenient.ConfigureAwait(false);
        await new BitmapRepair(lenient, log).RunAsync(cancellationToken).ConfigureAwait(false);
    }
}
