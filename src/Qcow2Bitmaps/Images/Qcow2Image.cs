using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.Repairing;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>One open qcow2 image: its header, its names, its snapshots and its persistent bitmaps.</summary>
/// <remarks>
/// Opening reads the first cluster, the snapshot table and the bitmap directory, nothing else; it opens no other file, and
/// needs no key, data file or backing file. Thread-safe; edits of one image exclude one another.
/// </remarks>
public sealed partial class Qcow2Image : IAsyncDisposable
{
    private readonly bool _leaveOpen;

    private Qcow2Image(ImageHandle handle, bool leaveOpen)
    {
        Handle = handle;
        _leaveOpen = leaveOpen;
        Bitmaps = new BitmapCollection(handle);
    }

    /// <summary>What the image is called: the path that was given.</summary>
    public string Name => Handle.Name;

    /// <summary>How the image was opened.</summary>
    public Strictness Strictness => Handle.Strictness;

    /// <summary>The header.</summary>
    public Qcow2Header Header => Handle.Header;

    /// <summary>The header extensions in their order, known and unknown ones, without the end marker.</summary>
    internal IReadOnlyList<RawHeaderExtension> Extensions => Handle.Contents.First.Extensions;

    /// <summary>The cluster arithmetic.</summary>
    public ImageGeometry Geometry => Handle.Geometry;

    /// <summary>The disk's size in bytes: whole sectors of 512, as QEMU counts.</summary>
    public long VirtualSizeBytes => Geometry.VirtualSizeBytes;

    /// <summary>The size of a cluster in bytes.</summary>
    public int ClusterSizeBytes => Geometry.ClusterSizeBytes;

    /// <summary>The backing file's name as stored, to be resolved relative to this image; null without one. Untrusted.</summary>
    public string? BackingFile => Handle.Contents.First.BackingFile;

    /// <summary>The backing file's format as stored; null when the image does not say.</summary>
    public string? BackingFormat => Handle.Contents.First.BackingFormat;

    /// <summary>The external data file's name as stored; null when there is none. Untrusted.</summary>
    public string? DataFile => Handle.Contents.First.DataFile;

    /// <summary>How guest data are encrypted.</summary>
    public EncryptionMethod Encryption => (EncryptionMethod)Header.CryptMethod;

    /// <summary>The internal snapshots.</summary>
    public IReadOnlyList<SnapshotInfo> Snapshots => Handle.Contents.Snapshots.Snapshots;

    /// <summary>The persistent bitmaps that QEMU would show; a lenient reader lists broken and ignored ones too.</summary>
    public BitmapCollection Bitmaps { get; }

    /// <summary>What was wrong and did not end the opening: for a lenient reader all faults, else those that QEMU does not mind.</summary>
    public IReadOnlyList<FormatFault> Findings => Handle.Contents.Findings;

    /// <summary>How many bytes of disk the image's file occupies; null when that is not known.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public long? AllocatedBytes => Handle.Storage.AllocatedBytes;

    /// <summary>The image for those who read and change it below this.</summary>
    internal ImageHandle Handle { get; }

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
        string path, StorageAccess access = StorageAccess.Read, Qcow2OpenOptions? options = null,
        CancellationToken cancellationToken = default)
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
            return new Qcow2Image(
                await ImageHandle.OpenAsync(storage, options.Strictness, options.Limits, cancellationToken).ConfigureAwait(false),
                leaveOpen);
        }
        catch when (!leaveOpen)
        {
            await storage.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Opens an image for <see cref="CheckAsync"/>, also one that QEMU cannot open and that can be checked all the same.</summary>
    /// <remarks>
    /// The image is opened as strictly as the options say, and leniently where its bitmaps, its snapshot table
    /// or its reference counts stand in the way.
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
            return await OpenAsync(
                storage, options with { Strictness = Strictness.Lenient }, leaveOpen: true, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Says whether the file ends before clusters that the image names, of the disk, of snapshots or of bitmaps: then it was probably not
    /// copied whole. Tables alone are read, no data file.
    /// </summary>
    /// <param name="trustsCounts">
    /// Whether no tables are read where no reference count is of a cluster behind the end: that costs next to nothing, and misses what a
    /// repair of a cut image has uncounted, and what is cut off of the last cluster.
    /// </param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>Where the file ends and where it would have to; null where all is there.</returns>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<FormatFault?> FindTruncationAsync(bool trustsCounts = false, CancellationToken cancellationToken = default) =>
        trustsCounts
            && await RefcountReader.IsInsideFileAsync(Handle.Storage, Header, Handle.Limits, cancellationToken).ConfigureAwait(false)
            ? null
            : await NamedEnd.FindFaultAsync(Handle, cancellationToken).ConfigureAwait(false);

    /// <summary>
    /// Counts every use of every cluster and compares with the stored reference counts, as <c>qemu-img check</c> does. Nothing is repaired.
    /// </summary>
    /// <remarks>
    /// Of an image that was opened leniently the faults that a strict reader refuses count as corruptions, or as errors of the check where
    /// they hide what is in use; broken bitmaps own no clusters, so that theirs are leaks. Of an image whose autoclear bit is off the
    /// bitmaps own nothing. A table of an inconsistent bitmap with an entry that cannot be is a corruption, where QEMU gives the check up.
    /// </remarks>
    /// <param name="cancellationToken">Ends the check.</param>
    /// <returns>What was found.</returns>
    /// <exception cref="Qcow2FormatException">The header is one that only a lenient reader takes.</exception>
    /// <exception cref="IOException">The storage failed, or the file has more than 2^31-1 clusters.</exception>
    public async ValueTask<CheckReport> CheckAsync(CancellationToken cancellationToken = default) =>
        await new ImageChecker(Handle, RepairKinds.None, new FindingLog()).CheckAsync(cancellationToken).ConfigureAwait(false);

    /// <summary>
    /// Checks the image and repairs what was found, as <c>qemu-img check -r</c> does; then, where anything was repaired, checks it again.
    /// </summary>
    /// <remarks>
    /// To be used on an image from <see cref="OpenForCheckAsync"/> whose storage can be written. A stop at any byte leaves the image as
    /// before, as after, or repaired in part, never worse than it was. Counts are not lowered while something in use could not be counted
    /// (a snapshot or a bitmap whose entry is broken), because what looks like a leak may then be its data: QEMU frees it. Where nothing is
    /// wrong, the dirty and the corrupt bit are cleared.
    /// </remarks>
    /// <param name="kinds">What may be repaired.</param>
    /// <param name="cancellationToken">Ends the work, between two writes.</param>
    /// <returns>What is left, what was repaired, and how often.</returns>
    /// <exception cref="Qcow2FormatException">The image is too broken to be checked.</exception>
    /// <exception cref="InvalidOperationException">Bitmaps are to be repaired, and a recording session keeps them in memory.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image is open for reading only, its header has no room for what is to be written, or
    /// an edit of several images was interrupted and is to be finished first.</exception>
    /// <exception cref="NoSpaceException">There is no room for what is to be written, on a storage that cannot grow.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public ValueTask<CheckReport> RepairAsync(RepairKinds kinds, CancellationToken cancellationToken = default) =>
        ImageRepair.RunAsync(Handle, kinds, cancellationToken);

    /// <summary>
    /// Whether another process has the image open for writing, as its locks tell; then flags <c>in-use</c> are as they should be.
    /// </summary>
    public bool IsOpenForWritingElsewhere() => Handle.Storage.IsOpenForWritingElsewhere();

    /// <summary>Reads what the LUKS header says without a key.</summary>
    /// <param name="findings">Takes, for a lenient reader, what is wrong with the header.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The header; null when the image is not encrypted with LUKS, or for a lenient reader when there is
    /// no header where the image says.</returns>
    /// <exception cref="Qcow2FormatException">There is no LUKS header where the image says.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<LuksHeader?> ReadLuksHeaderAsync(
        ICollection<FormatFault>? findings = null, CancellationToken cancellationToken = default)
    {
        (LuksHeader? header, FormatFault? fault) = await Handle.Contents.First.TryReadLuksHeaderAsync(
            Handle.Storage, cancellationToken).ConfigureAwait(false);
        FaultLog log = Handle.NewLog();
        log.Report(fault);
        log.CopyTo(findings);
        return header;
    }

    /// <summary>Closes the image's storage, unless it was to be left open.</summary>
    public ValueTask DisposeAsync()
    {
        Handle.Gate.Close();
        return _leaveOpen ? ValueTask.CompletedTask : Handle.Storage.DisposeAsync();
    }
}
