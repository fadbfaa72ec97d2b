using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>An operation that was done on stand-ins for the files of a chain: it went the whole way, and changed nothing.</summary>
/// <remarks>What an operation needs is not calculated separately, which could diverge from the operation: it is run and measured.</remarks>
internal sealed class Rehearsal : IAsyncDisposable
{
    private readonly ImageChain _chain;
    private readonly IReadOnlyList<RehearsalStorage> _storages;
    private readonly long[] _currentBytes;

    private Rehearsal(ImageChain chain, IReadOnlyList<RehearsalStorage> storages)
    {
        _chain = chain;
        _storages = storages;
        _currentBytes = new long[storages.Count];
    }

    /// <summary>What was done.</summary>
    public ChainResult Result { get; private set; } = new([]);

    /// <summary>Does an operation on stand-ins. What it leaves behind is not real, and not told.</summary>
    /// <param name="operation">The operation, on whose chain nothing has been written since it was opened; that is only read.</param>
    /// <param name="depth">How closely to look.</param>
    /// <param name="isBounded">Whether storages that cannot grow keep their real size; otherwise the rehearsal shows how large they
    /// would have to be.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    public static async Task<Rehearsal> RunAsync(
        ChainOperation operation, MeasureDepth depth, bool isBounded, CancellationToken cancellationToken)
    {
        ImageChain chain = operation.Chain;
        ChainDisk map = await chain.OpenDataAsync(cancellationToken).ConfigureAwait(false);
        var resolver = new StandInResolver(chain, map, isBounded);
        ChainOpenOptions options = chain.Options with
        {
            Resolver = resolver,
            WritableLayers = [.. Enumerable.Range(0, chain.Layers.Count)],
        };
        ImageChain copy = await ImageChain.OpenAsync(resolver.Layers[0], options, cancellationToken).ConfigureAwait(false);
        var rehearsal = new Rehearsal(copy, resolver.Layers);
        try
        {
            foreach (ChainLayer layer in chain.Layers)
            {
                rehearsal._currentBytes[layer.Index] = layer is Qcow2Layer { IsFixedSize: true, Image: var image }
                    ? await RefcountReader.FindEndAsync(
                        image.Handle.Storage, image.Header, image.Handle.Limits, cancellationToken).ConfigureAwait(false)
                    : layer.Storage.Length;
            }

            using IDisposable silence = Leftovers.TellTo(static _ => { });
            rehearsal.Result = await operation.On(copy, depth).RunAsync(null, cancellationToken).ConfigureAwait(false);
            return rehearsal;
        }
        catch
        {
            await copy.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>The space that an image needs.</summary>
    public ImageRoom RoomOf(int layer)
    {
        ChainLayer there = _chain.Layers[layer];
        long current = _currentBytes[layer];
        long cluster = (there as Qcow2Layer)?.Image.ClusterSizeBytes ?? 1;
        long end = _storages[layer].IsOverDevice ? _storages[layer].WrittenEnd : _storages[layer].Length;
        return new ImageRoom(there.Path, current, Math.Max(current, ImageGeometry.DivideRoundingUp(end, cluster) * cluster));
    }

    /// <summary>The space of all images that are written.</summary>
    public IEnumerable<ImageRoom> Rooms() =>
        _storages.Select((storage, index) => (storage, index))
            .Where(static pair => pair.storage.WrittenEnd > 0)
            .Select(pair => RoomOf(pair.index));

    public ValueTask DisposeAsync() => _chain.DisposeAsync();

    /// <summary>Has the storages of an open chain stand in for the files that its images name, with writes in memory.</summary>
    private sealed class StandInResolver(ImageChain chain, ChainDisk map, bool isBounded) : IBackingResolver
    {
        /// <summary>The stand-ins, the top first.</summary>
        public RehearsalStorage[] Layers { get; } = [.. chain.Layers.Select(layer => new RehearsalStorage(layer.Storage, isBounded))];

        public Task<ImageStorage> OpenAsync(
            BackingReference reference, ImageLock imageLock, CancellationToken cancellationToken = default)
        {
            // A data file's reference has the depth of its image, a backing file's the next depth.
            ChainLayer layer = chain.Layers[reference.Depth];
            bool isDataFile = layer is Qcow2Layer { Image.Header.HasExternalDataFile: true, Image: var image }
                && string.Equals(image.DataFile, reference.FileName, StringComparison.Ordinal)
                && string.Equals(layer.Path, reference.ImagePath, StringComparison.Ordinal);
            return Task.FromResult<ImageStorage>(
                isDataFile ? new RehearsalStorage(map.DiskOf(reference.Depth)!.Data!, isBounded) : Layers[reference.Depth]);
        }
    }
}
