using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.Repairing;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>One open qcow2 image: its header, its names, its snapshots and its persistent bitmaps.</summary>
/// <remarks>
/// Opening reads only the first cluster, the snapshot table and the bitmap directory; it opens no other file, and needs no key, data file
/// or backing file. Thread-safe; edits of one image wait for each other. <see cref="Bitmaps"/> must not be read beside an edit.
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

    /// <summary>The path that the image was opened with.</summary>
    public string Name => Handle.Name;

    /// <summary>Whether the image is read leniently: see <see cref="Qcow2OpenOptions.IsLenient"/>.</summary>
    public bool IsLenient => Handle.Strictness == Strictness.Lenient;

    /// <summary>The header.</summary>
    public Qcow2Header Header => Handle.Header;

    /// <summary>The header extensions in their order, known and unknown ones, without the end marker.</summary>
    internal IReadOnlyList<RawHeaderExtension> Extensions => Handle.Contents.First.Extensions;

    /// <summary>The cluster arithmetic.</summary>
    internal ImageGeometry Geometry => Handle.Geometry;

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

    /// <summary>The faults that did not prevent opening: for a lenient reader all faults, otherwise those that QEMU ignores.</summary>
    public IReadOnlyList<FormatFault> Findings => Handle.Contents.Findings;

    /// <summary>How many bytes of disk the image's file occupies; null when that is not known.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public long? AllocatedBytes => Handle.Storage.AllocatedBytes;

    /// <summary>The internal handle, through which the image is read and changed.</summary>
    internal ImageHandle Handle { get; }

    /// <summary>Opens an image file or block device.</summary>
    /// <param name="path">The path.</param>
    /// <param name="access">The access. Opening for writing takes QEMU's writer locks, unless the options ask for none.</param>
    /// <param name="options">The options; the defaults when null.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The image; dispose it after use. Opening writes nothing.</returns>
    /// <exception cref="Qcow2FormatException">The file is not a qcow2 image, or a broken one.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image needs a feature that this library does not know.</exception>
    /// <exception cref="ImageLockedException">Another user of the image holds a conflicting lock.</exception>
    /// <exception cref="IOException">The file cannot be opened or read.</exception>
    public static async Task<Qcow2Image> OpenAsync(
        string path, FileAccess access = FileAccess.Read, Qcow2OpenOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        options ??= Qcow2OpenOptions.Default;
        ImageLock imageLock = access == FileAccess.ReadWrite && options.Lock != ImageLock.None ? ImageLock.Write : options.Lock;
        var storage = FileStorage.Open(path, access, imageLock);
        return await OpenAsync(storage, options, leaveOpen: false, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Opens an image in a storage; the image is writable if the storage is.</summary>
    /// <param name="storage">The storage; the caller is responsible for its locks.</param>
    /// <param name="options">The options; the defaults when null.</param>
    /// <param name="leaveOpen">Whether the storage stays open when the image is disposed, or if opening fails.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The image; dispose it after use.</returns>
    /// <exception cref="Qcow2FormatException">The storage holds no qcow2 image, or a broken one.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image needs a feature that this library does not know.</exception>
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
    /// The image is opened with the strictness of the options, but leniently if its bitmaps, its snapshot table or its reference counts
    /// would prevent opening.
    /// </remarks>
    /// <param name="storage">The storage, which stays open; the caller is responsible for its locks.</param>
    /// <param name="options">The options; the defaults when null.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The image; dispose it after use.</returns>
    /// <exception cref="Qcow2FormatException">The storage holds no qcow2 image, or one that is too broken to be checked.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image needs a feature that this library does not know.</exception>
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
                storage, options with { IsLenient = true }, leaveOpen: true, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Finds out whether the file ends before clusters that the disk, a snapshot or a bitmap refers to: then it was probably not copied
    /// completely. Reads only tables, no data file.
    /// </summary>
    /// <param name="trustsCounts">
    /// Whether to skip reading tables if no cluster past the end has a reference count. That costs almost nothing, but misses clusters
    /// whose counts a repair of the truncated image has cleared, and a truncated last cluster.
    /// </param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>Where the file ends and where it should end; null if nothing is missing.</returns>
    /// <exception cref="IOException">The storage failed.</exception>
    public async Task<FormatFault?> FindTruncationAsync(bool trustsCounts = false, CancellationToken cancellationToken = default) =>
        trustsCounts
            && await RefcountReader.IsInsideFileAsync(Handle.Storage, Header, Handle.Limits, cancellationToken).ConfigureAwait(false)
            ? null
            : await NamedEnd.FindFaultAsync(Handle, cancellationToken).ConfigureAwait(false);

    /// <summary>
    /// Counts all uses of all clusters and compares them with the stored reference counts, like <c>qemu-img check</c>. Repairs nothing.
    /// </summary>
    /// <remarks>
    /// If the image was opened leniently, faults that a strict reader refuses count as corruptions, or as check errors if they hide what is
    /// in use; broken bitmaps own no clusters, so that theirs are leaks. If the image's autoclear bit is off, bitmaps own no clusters. An
    /// invalid entry in the table of an inconsistent bitmap is a corruption; QEMU aborts the check there.
    /// </remarks>
    /// <param name="cancellationToken">Ends the check.</param>
    /// <returns>What was found.</returns>
    /// <exception cref="Qcow2FormatException">Only a lenient reader accepts the header.</exception>
    /// <exception cref="IOException">The storage failed, or the file has more than 2^31-1 clusters.</exception>
    public async Task<CheckReport> CheckAsync(CancellationToken cancellationToken = default) =>
        await new ImageChecker(Handle, RepairKinds.None, new FindingLog()).CheckAsync(cancellationToken).ConfigureAwait(false);

    /// <summary>
    /// Checks the image and repairs what it finds, like <c>qemu-img check -r</c>; if anything was repaired, checks again.
    /// </summary>
    /// <remarks>
    /// For an image from <see cref="OpenForCheckAsync"/> with writable storage. An interruption at any byte leaves the image unchanged,
    /// repaired, or partly repaired, never worse than before. Counts are not lowered while something in use could not be counted (a
    /// snapshot or a bitmap with a broken entry), because what looks like a leak may then be its data: QEMU frees it. If nothing is wrong,
    /// the dirty and the corrupt bit are cleared.
    /// </remarks>
    /// <param name="kinds">What may be repaired.</param>
    /// <param name="cancellationToken">Ends the work, between two writes.</param>
    /// <returns>The remaining findings, and what was repaired, with counts.</returns>
    /// <exception cref="Qcow2FormatException">The image is too broken to be checked.</exception>
    /// <exception cref="InvalidOperationException">Repair of bitmaps was requested, but a recording session keeps them in
    /// memory.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image is read-only, its header has too little space for the repair, or an
    /// interrupted edit of several images must be finished first.</exception>
    /// <exception cref="NoSpaceException">The storage cannot grow and has too little space for the repair.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public Task<CheckReport> RepairAsync(RepairKinds kinds, CancellationToken cancellationToken = default) =>
        ImageRepair.RunAsync(Handle, kinds, cancellationToken).AsTask();

    /// <summary>Whether another process has the image open for writing, judged by its locks; then <c>in-use</c> flags are normal.</summary>
    public bool IsOpenForWritingElsewhere() => Handle.Storage.IsOpenForWritingElsewhere();

    /// <summary>Reads the unencrypted part of the LUKS header.</summary>
    /// <param name="findings">Receives, for a lenient reader, the faults of the header.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The header; null if the image is not encrypted with LUKS, or, for a lenient reader, if the image's pointer leads to no
    /// header.</returns>
    /// <exception cref="Qcow2FormatException">The image's pointer leads to no LUKS header.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async Task<LuksHeader?> ReadLuksHeaderAsync(
        ICollection<FormatFault>? findings = null, CancellationToken cancellationToken = default)
    {
        (LuksHeader? header, FormatFault? fault) = await Handle.Contents.First.TryReadLuksHeaderAsync(
            Handle.Storage, cancellationToken).ConfigureAwait(false);
        FaultLog log = Handle.NewLog();
        log.Report(fault);
        log.CopyTo(findings);
        return header;
    }

    /// <summary>Closes the image's storage, unless it was opened with leaveOpen.</summary>
    public ValueTask DisposeAsync()
    {
        Handle.Gate.Close();
        return _leaveOpen ? ValueTask.CompletedTask : Handle.Storage.DisposeAsync();
    }
}
