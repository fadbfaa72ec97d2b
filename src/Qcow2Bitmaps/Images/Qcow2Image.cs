using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images;

/// <summary>One open qcow2 image: its header, its names, its snapshots and its persistent bitmaps.</summary>
/// <remarks>
/// Opening reads the first cluster, the snapshot table and the bitmap directory, nothing else; it opens no other file, and
/// needs no key, data file or backing file. Thread-safe. The image is read-only.
/// </remarks>
public sealed class Qcow2Image : IAsyncDisposable
{
    private readonly ImageStorage _storage;
    private readonly bool _leaveOpen;
    private readonly FirstCluster _first;

    private Qcow2Image(
        ImageStorage storage, bool leaveOpen, Qcow2OpenOptions options, FirstCluster first, FaultLog log, SnapshotTable snapshots, BitmapCollection bitmaps)
    {
        _storage = storage;
        _leaveOpen = leaveOpen;
        _first = first;
        Strictness = options.Strictness;
        Limits = options.Limits;
        Findings = log.Findings;
        Snapshots = snapshots.Snapshots;
        SnapshotTableBytes = snapshots.LengthBytes;
        Bitmaps = bitmaps;
    }

    /// <summary>What the image is called: the path that was given.</summary>
    public string Name => _storage.Name;

    /// <summary>How the image was opened.</summary>
    public Strictness Strictness { get; }

    /// <summary>The header.</summary>
    public Qcow2Header Header => _first.Header;

    /// <summary>The header extensions in their order, known and unknown ones, without the end marker.</summary>
    public IReadOnlyList<RawHeaderExtension> Extensions => _first.Extensions;

    /// <summary>The cluster arithmetic.</summary>
    public ImageGeometry Geometry => _first.Header.Geometry;

    /// <summary>The disk's size in bytes: whole sectors of 512, as QEMU counts.</summary>
    public long VirtualSizeBytes => Geometry.VirtualSizeBytes;

    /// <summary>The size of a cluster in bytes.</summary>
    public int ClusterSizeBytes => Geometry.ClusterSizeBytes;

    /// <summary>The backing file's name as stored, to be resolved relative to this image; null without one. Untrusted.</summary>
    public string? BackingFile => _first.BackingFile;

    /// <summary>The backing file's format as stored; null when the image does not say.</summary>
    public string? BackingFormat => _first.BackingFormat;

    /// <summary>The external data file's name as stored; null when there is none. Untrusted.</summary>
    public string? DataFile => _first.DataFile;

    /// <summary>How guest data are encrypted.</summary>
    public EncryptionMethod Encryption => (EncryptionMethod)_first.Header.CryptMethod;

    /// <summary>The internal snapshots.</summary>
    public IReadOnlyList<SnapshotInfo> Snapshots { get; }

    /// <summary>The persistent bitmaps that QEMU would show; a lenient reader lists broken and ignored ones too.</summary>
    public BitmapCollection Bitmaps { get; }

    /// <summary>What was wrong and did not end the opening: for a lenient reader all faults, else those that QEMU does not mind.</summary>
    public IReadOnlyList<FormatFault> Findings { get; }

    /// <summary>How many bytes of disk the image's file occupies; null when that is not known.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public long? AllocatedBytes => _storage.AllocatedBytes;

    internal Qcow2Limits Limits { get; }

    internal CryptoHeaderPointer? CryptoHeader => _first.CryptoHeader;

    /// <summary>Where the directory is that <see cref="Bitmaps"/> was read from.</summary>
    internal BitmapsExtension? BitmapDirectory => _first.Bitmaps;

    /// <summary>The length of the snapshot table in bytes.</summary>
    internal long SnapshotTableBytes { get; }

    /// <summary>Opens an image file or block device for reading.</summary>
    /// <param name="path">The path.</param>
    /// <param name="options">How; the defaults when null.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The image, to be disposed.</returns>
    /// <exception cref="Qcow2FormatException">The file is no qcow2 image, or a broken one.</exception>
    /// <exception cref="Qcow2UnsupportedException">The image needs a feature that is not known here.</exception>
    /// <exception cref="ImageLockedException">Somebody else writes the image.</exception>
    /// <exception cref="IOException">The file cannot be opened or read.</exception>
    public static async Task<Qcow2Image> OpenAsync(
        string path, Qcow2OpenOptions? options = null, CancellationToken cancellationToken = default)
    {
        options ??= Qcow2OpenOptions.Default;
        var storage = FileStorage.Open(path, StorageAccess.Read, options.Lock);
        return await OpenAsync(storage, options, leaveOpen: false, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Opens an image in a storage for reading.</summary>
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
        var log = new FaultLog(options.Strictness, storage.Name);
        try
        {
            FirstCluster first = await FirstCluster.ReadAsync(storage, options.Limits, log, cancellationToken).ConfigureAwait(false);
            SnapshotTable snapshots = await SnapshotTableReader
                .ReadAsync(storage, first.Header, options.Limits, log, zeroFilled: false, cancellationToken).ConfigureAwait(false);
            ImageGeometry geometry = first.Header.Geometry;
            var directory = new BitmapDirectoryReader(first, geometry, options.Limits, log);
            IReadOnlyList<BitmapInfo> bitmaps = await directory.ReadAsync(storage, cancellationToken).ConfigureAwait(false);
            return new Qcow2Image(
                storage, leaveOpen, options, first, log, snapshots, new BitmapCollection(storage, geometry, options.Strictness, options.Limits, bitmaps, directory.IsComplete));
        }
        catch when (!leaveOpen)
        {
            await storage.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Counts every use of every cluster and compares with the stored reference counts, as <c>qemu-img check</c> does. Nothing is repaired.</summary>
    /// <remarks>
    /// Of an image that was opened leniently the faults of its bitmaps count as corruptions; broken bitmaps own no clusters, so that theirs are leaks.
    /// An image whose autoclear bit is off is to be opened strictly: its ignored bitmaps own nothing for QEMU.
    /// </remarks>
    /// <param name="cancellationToken">Ends the check.</param>
    /// <returns>What was found.</returns>
    /// <exception cref="Qcow2FormatException">The header is one that only a lenient reader takes.</exception>
    /// <exception cref="IOException">The storage failed, or the file has more than 2^31-1 clusters.</exception>
    public async ValueTask<CheckReport> CheckAsync(CancellationToken cancellationToken = default) =>
        await new ImageChecker(_storage, this).CheckAsync(cancellationToken).ConfigureAwait(false);

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
        if (_first.CryptoHeader is not { } pointer)
        {
            return null;
        }

        var bytes = new byte[LuksHeader.SizeBytes];
        int read = await _storage.ReadAsync((long)pointer.Offset, bytes, cancellationToken).ConfigureAwait(false);
        _ = LuksHeader.TryRead(bytes.AsSpan(0, read), pointer.Offset, out LuksHeader? header, out FormatFault? fault);
        var log = new FaultLog(Strictness, Name);
        log.Report(fault);
        log.CopyTo(findings);
        return header;
    }

    /// <summary>Closes the image's storage, unless it was to be left open.</summary>
    public ValueTask DisposeAsync() => _leaveOpen ? ValueTask.CompletedTask : _storage.DisposeAsync();
}
