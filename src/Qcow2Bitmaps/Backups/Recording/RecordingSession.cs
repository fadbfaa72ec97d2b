using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Backups.Recording;

// Decisions: docs/decisions/backups-recording.md.
/// <summary>
/// A disk that is open for writing as QEMU opens it: its bitmaps are kept in memory, record what is
/// written, and are stored when it is closed.
/// </summary>
/// <remarks>
/// <para>
/// Opening loads all bitmaps and marks them <c>in-use</c> in the image, in one atomic edit: whoever looks at the image of a process
/// that was killed finds them inconsistent, as with QEMU, and never valid and without a change. <see cref="StoreBitmapsAsync"/> and
/// <see cref="DisposeAsync"/> store what is in memory, valid again, in one atomic edit. After a checkpoint the first write marks them
/// anew, as do merges into a stored bitmap and its enabling. No write costs an edit, which is the difference to
/// <see cref="ImageChain.OpenWriterAsync(CancellationToken)"/>, whose bitmaps are valid at any moment. What a killed session has not
/// stored can be rebuilt from allocation where the image has a backing file: <see cref="Operations.ChainPopulate"/>.
/// </para>
/// <para>
/// Rules and messages are those of QEMU's monitor commands. If the chain is open for reading only, its bitmaps are read-only: they can only
/// be merged from, and used by jobs.
/// </para>
/// <para>
/// Thread-safe. Reads and writes are concurrent. Operations on bitmaps, the start and end of jobs, and checkpoints wait until no write is
/// in progress, and block new ones. While the session is open, nothing else may change the image's bitmaps, not even through the same
/// <see cref="Qcow2Image"/>.
/// </para>
/// </remarks>
public sealed partial class RecordingSession : Disk
{
    private static long s_sessions;

    private readonly ImageChain _chain;
    private readonly bool _leaveOpen;
    private readonly GuestWriter? _writer;
    // Held shared by writes, and exclusively by everything that changes the set of bitmaps and jobs, or what is stored.
    private readonly SharedLock _access = new();
    // Protects the bitmaps against readers that run concurrently with writes.
    private readonly Lock _bits = new();
    // In order of creation.
    private readonly List<LiveBitmap> _bitmaps = [];
    private volatile BackupJob[] _jobs = [];
    // Whether bitmaps may look valid in the image, so that they must be marked as in use before a write.
    private volatile bool _isStored = true;
    // Whether an edit has failed, so that the image's state is unknown.
    private bool _isUncertain;
    private volatile bool _isClosed;

    private RecordingSession(ImageChain chain, bool leaveOpen, GuestWriter? writer)
    {
        _chain = chain;
        _leaveOpen = leaveOpen;
        _writer = writer;
    }

    /// <inheritdoc/>
    public override string Name => Image.Name;

    /// <inheritdoc/>
    public override long SizeBytes => Image.VirtualSizeBytes;

    /// <inheritdoc/>
    public override int ClusterBytes => Image.ClusterSizeBytes;

    /// <inheritdoc/>
    public override bool CanWrite => _writer is not null;

    /// <summary>
    /// Whether clusters can be compressed: the image can be written, its compression is zlib, and it has no external data file.
    /// </summary>
    public override bool CanCompress => _writer is { CanCompress: true };

    /// <summary>The chain whose disk this is. Verdicts on it are of the images on disk, where bitmaps are in use until they are stored: use
    /// <see cref="Bitmaps"/>.</summary>
    public ImageChain Chain => _chain;

    /// <summary>
    /// The current bitmaps, the newest first, as QEMU lists them. Of those from the image, the last one in the directory is the newest.
    /// </summary>
    public IReadOnlyList<RecordedBitmap> Bitmaps
    {
        get
        {
            lock (_bits)
            {
                return [.. Enumerable.Reverse(_bitmaps).Select(static bitmap => bitmap.Describe())];
            }
        }
    }

    /// <summary>The jobs that have not ended.</summary>
    internal IReadOnlyList<BackupJob> Jobs => _jobs;

    internal Qcow2Image Image => _chain.Layers[0].RequireImage();

    /// <summary>Identifies the session, and defines the order in which several are locked.</summary>
    internal long Number { get; } = Interlocked.Increment(ref s_sessions);

    internal override bool HoldsZeros => _writer is { HoldsZeros: true };

    internal override bool HasBacking => _chain.Layers.Count > 1;

    internal override IEnumerable<ImageStorage> Storages => _chain.Storages;

    /// <summary>Opens a chain of files, the top image for writing, with the locks of a writer.</summary>
    /// <param name="topPath">The top image.</param>
    /// <param name="options">The options; the defaults when null. Their choice of writable images is ignored.</param>
    /// <param name="isReadOnly">Whether the top image, too, is only read.</param>
    /// <param name="cancellationToken">Ends the opening before anything is changed.</param>
    /// <returns>The session, to be closed.</returns>
    /// <exception cref="Qcow2FormatException">An image, or a bitmap, is broken.</exception>
    /// <exception cref="Qcow2UnsupportedException">The top image cannot be written, or is raw; or a backing
    /// file's name or format is refused.</exception>
    /// <exception cref="ImageLockedException">Another process uses one of the images in a conflicting way.</exception>
    /// <exception cref="NoSpaceException">A device has no room to mark the bitmaps as in use.</exception>
    /// <exception cref="IOException">A file cannot be opened, read or written.</exception>
    public static async Task<RecordingSession> OpenAsync(
        string topPath, ChainOpenOptions? options = null, bool isReadOnly = false, CancellationToken cancellationToken = default)
    {
        options = (options ?? ChainOpenOptions.Default) with { WritableLayers = isReadOnly ? [] : [0] };
        ImageChain chain = await ImageChain.OpenAsync(topPath, options, cancellationToken).ConfigureAwait(false);
        return await OpenAsync(chain, leaveOpen: false, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Opens the disk of a chain; it can be written if the chain's top image is open for writing.</summary>
    /// <param name="chain">The chain.</param>
    /// <param name="leaveOpen">Whether the chain stays open after the session is closed or fails to open.</param>
    /// <param name="cancellationToken">Ends the opening before anything is changed.</param>
    /// <inheritdoc cref="OpenAsync(string, ChainOpenOptions?, bool, CancellationToken)"/>
    public static async Task<RecordingSession> OpenAsync(
        ImageChain chain, bool leaveOpen = false, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(chain);
        try
        {
            if (chain.Layers[0] is not Qcow2Layer { Image: var image })
            {
                throw new Qcow2UnsupportedException(UnsupportedReason.Format, $"'{chain.Layers[0].Path}' is raw: it has no bitmaps");
            }

            GuestWriter? writer = image.Handle.Storage.CanWrite
                ? await chain.OpenWriterAsync(0, marksWrites: false, cancellationToken).ConfigureAwait(false)
                : null;
            var session = new RecordingSession(chain, leaveOpen, writer);
            try
            {
                await session.LoadAsync(cancellationToken).ConfigureAwait(false);
                return session;
            }
            catch when (writer is not null)
            {
                await writer.DisposeAsync().ConfigureAwait(false);
                throw;
            }
        }
        catch when (!leaveOpen)
        {
            await chain.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Stores all bitmaps in their current state, valid, together with all written data, and continues.</summary>
    /// <remarks>
    /// Not a checkpoint of libvirt: a new bitmap starts one (<see cref="RecordingTransaction.Add"/>).
    /// A bitmap that a job uses is stored as it would be if the job failed. Transient bitmaps are not stored, and inconsistent ones are
    /// unchanged. If there is no space, or the storage fails, the bitmaps stay marked as in use, and memory is unchanged. The checkpoint
    /// can be retried, but not after the tables of written data could not be made durable: those data may be lost. Then each checkpoint
    /// and the close fail.
    /// </remarks>
    /// <param name="cancellationToken">Cancels the work as long as the image is unchanged.</param>
    /// <returns>Once all is durable.</returns>
    /// <exception cref="NoSpaceException">The storage cannot grow and is too full: the bitmaps are still marked as in use.</exception>
    /// <exception cref="IOException">The storage failed; the bitmaps are marked as in use, or stored.</exception>
    public async Task StoreBitmapsAsync(CancellationToken cancellationToken = default)
    {
        using SharedLock.Release alone = await EnterAloneAsync(cancellationToken).ConfigureAwait(false);
        await StoreAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Cancels all jobs, stores all bitmaps, valid, and closes the image.</summary>
    /// <remarks>
    /// The session is closed in any case. Bitmaps that cannot be stored stay marked as in use, that is inconsistent, as with QEMU: none is
    /// ever valid and misses a change.
    /// </remarks>
    /// <returns>Once everything is durable.</returns>
    /// <inheritdoc cref="StoreBitmapsAsync" path="/exception"/>
    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync().ConfigureAwait(false);
        if (_isClosed)
        {
            return;
        }

        while (true)
        {
            using (await _access.EnterAloneAsync(CancellationToken.None).ConfigureAwait(false))
            {
                if (_jobs.Length == 0)
                {
                    if (!_isClosed)
                    {
                        _isClosed = true;
                        await StoreAndCloseAsync().ConfigureAwait(false);
                    }

                    return;
                }
            }

            await CancelJobsAsync().ConfigureAwait(false);
        }
    }

    internal async ValueTask<SharedLock.Release> EnterAloneAsync(CancellationToken cancellationToken)
    {
        SharedLock.Release alone = await _access.EnterAloneAsync(cancellationToken).ConfigureAwait(false);
        if (_isClosed)
        {
            alone.Dispose();
            throw new ObjectDisposedException(nameof(RecordingSession), PrintableMessage.Of($"The session of '{Name}' is closed"));
        }

        return alone;
    }
}
