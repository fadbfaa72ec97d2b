using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Writing;

namespace Qcow2Bitmaps.Operations;

// Decisions: docs/decisions/operations.md.
/// <summary>An operation on a chain that is open with the locks that it needs, and no others.</summary>
/// <remarks>
/// It is opened by a method of its class, looked at or measured if wanted, run once, and disposed, which closes the chain. An operation
/// that was stopped can be opened and run again. Not thread-safe: one call at a time.
/// </remarks>
public abstract class ChainOperation : IAsyncDisposable
{
    private bool _ownsChain;

    private protected ChainOperation(ImageChain chain) => Chain = chain;

    /// <summary>The chain, closed with the operation. After <see cref="RunAsync"/> it shows what was there before.</summary>
    public ImageChain Chain { get; }

    /// <summary>
    /// The images whose internal snapshots read other data afterwards, where they have holes: a sentence for each, which names the image
    /// and its snapshots. Empty where none do.
    /// </summary>
    public IReadOnlyList<string> ChangedSnapshots => [.. FindChangedSnapshots().Select(static changed => changed.ToString())];

    private bool HasStarted { get; set; }

    /// <summary>Whether <see cref="RunAsync"/> has returned.</summary>
    private protected bool HasRun { get; private set; }

    /// <summary>The image that takes the data; of one that changes bitmaps only the topmost that is written.</summary>
    private protected virtual int TargetIndex => 0;

    /// <summary>The images that overlays outside the chain must not have as their backing file.</summary>
    private protected virtual IEnumerable<int> ExposedLayers => [];

    /// <summary>
    /// Finds images that are not part of the chain, and whose data or bitmaps may be wrong afterwards, as they have an image of the chain
    /// as their backing file. Only the folders of the images are searched.
    /// </summary>
    /// <param name="cancellationToken">Ends the search.</param>
    /// <exception cref="IOException">A folder cannot be read, or the folders have too many files.</exception>
    public Task<IReadOnlyList<FoundOverlay>> FindOverlaysAsync(CancellationToken cancellationToken = default) =>
        FoundOverlay.FindAsync(Chain, ExposedLayers, cancellationToken);

    /// <summary>Measures the space that the operation needs, and what becomes of bitmaps. Nothing is written.</summary>
    /// <param name="readsData">Whether data are read, so that zeros are found as the operation will find them, which takes as long as
    /// reading all of them. Else only tables are read: allocated clusters count as data, even if they contain only zeros. Operations that
    /// change bitmaps only are always measured exactly.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <inheritdoc cref="RunAsync" path="/exception"/>
    public Task<ChainMeasurement> MeasureAsync(bool readsData = true, CancellationToken cancellationToken = default) =>
        MeasureCoreAsync(readsData ? MeasureDepth.Data : MeasureDepth.Tables, cancellationToken);

    /// <summary>Measures what becomes of bitmaps, and the space for them, without the space for data. Nothing is written.</summary>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <inheritdoc cref="RunAsync" path="/exception"/>
    public Task<ChainMeasurement> MeasureBitmapsAsync(CancellationToken cancellationToken = default) =>
        MeasureCoreAsync(MeasureDepth.Bitmaps, cancellationToken);

    /// <summary>
    /// Runs the operation. It removes no file, and does not look for overlays outside the chain: <see cref="FindOverlaysAsync"/> does.
    /// </summary>
    /// <param name="progress">Is told how much of the disk is done.</param>
    /// <param name="cancellationToken">Ends the work; the chain is valid then, and the operation can be opened and run again.</param>
    /// <returns>What happened to the bitmaps, and how much was copied.</returns>
    /// <exception cref="InvalidOperationException">It was run before.</exception>
    /// <exception cref="SnapshotStateException">Internal snapshots would change content; nothing is written.</exception>
    /// <exception cref="BitmapStateException">A bitmap would be lost, or cannot be made; nothing is written.</exception>
    /// <exception cref="Qcow2UnsupportedException">An image cannot be written, or is open for reading only; nothing is written.</exception>
    /// <exception cref="NoSpaceException">There is surely not enough space; nothing is written.</exception>
    /// <exception cref="Qcow2FormatException">An image is broken, or a file ends before clusters that its image names; nothing is
    /// written then.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public async Task<ChainResult> RunAsync(
        IProgress<OperationProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        if (HasStarted)
        {
            throw new InvalidOperationException("The operation was run before: open it again to run it again.");
        }

        HasStarted = true;
        foreach (Qcow2Layer layer in Chain.Layers.Where(static layer => layer.IsWritable).OfType<Qcow2Layer>())
        {
            InterruptedEdit.RequireNone(layer.Image.Handle);
        }

        ChainResult result = await DoAsync(progress, cancellationToken).ConfigureAwait(false);
        HasRun = true;
        return result;
    }

    /// <summary>Closes the chain.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_ownsChain)
        {
            await DisposeCoreAsync().ConfigureAwait(false);
        }

        GC.SuppressFinalize(this);
    }

    /// <summary>The images that it writes, by their index. Reads what it needs for that.</summary>
    internal virtual ValueTask<IReadOnlyList<int>> FindWritableLayersAsync(CancellationToken cancellationToken) =>
        ValueTask.FromResult<IReadOnlyList<int>>([]);

    /// <summary>The same operation on a stand-in of the chain, for a measurement.</summary>
    internal abstract ChainOperation On(ImageChain standIn, MeasureDepth depth);

    private protected virtual IEnumerable<ChangedSnapshots> FindChangedSnapshots() => [];

    private protected abstract Task<ChainResult> DoAsync(IProgress<OperationProgress>? progress, CancellationToken cancellationToken);

    private protected virtual async Task<ChainMeasurement> MeasureCoreAsync(MeasureDepth depth, CancellationToken cancellationToken)
    {
        Rehearsal rehearsal = await Rehearsal.RunAsync(this, depth, isBounded: false, cancellationToken).ConfigureAwait(false);
        await using (rehearsal.ConfigureAwait(false))
        {
            return new ChainMeasurement(rehearsal.RoomOf(TargetIndex), [.. rehearsal.Rooms()], rehearsal.Result)
            {
                IsExact = depth == MeasureDepth.Data,
            };
        }
    }

    private protected virtual ValueTask DisposeCoreAsync() => Chain.DisposeAsync();

    /// <summary>Refuses what qemu-img goes on with: snapshots that read other data afterwards, and files that end too early.</summary>
    private protected async ValueTask RequireNoLossesAsync(CancellationToken cancellationToken)
    {
        Operations.ChangedSnapshots.RequireNone(FindChangedSnapshots());
        await Chain.RequireWholeAsync(withDataFiles: true, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Opens a chain for an operation: first to look which images it writes, then with the locks of a writer on those.</summary>
    internal static async Task<T> OpenAsync<T>(
        string topPath, ChainOpenOptions? open, bool isReadOnly, Func<ImageChain, T> make, CancellationToken cancellationToken)
        where T : ChainOperation
    {
        open ??= new ChainOpenOptions();
        ImageChain chain = isReadOnly
            ? await ImageChain.OpenAsync(topPath, open with { WritableLayers = [] }, cancellationToken).ConfigureAwait(false)
            : await ChainAccess.OpenAsync(
                topPath, open, look => make(look).FindWritableLayersAsync(cancellationToken), cancellationToken).ConfigureAwait(false);
        try
        {
            T operation = make(chain);
            operation._ownsChain = true;
            return operation;
        }
        catch
        {
            await chain.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>The index of an image, whatever path leads to it.</summary>
    /// <exception cref="IOException">It is none of the chain.</exception>
    private protected static int IndexOf(ImageChain chain, string path) => chain.IndexOf(path)
        ?? throw IOException.Of($"'{path}' is not part of the chain of '{chain.Layers[0].Path}'");
}
