using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>A chain over stand-ins for the files of another one: an operation on it goes the whole way, and changes nothing.</summary>
/// <remarks>What an operation needs is not calculated beside it, where the two could drift apart: it is done, and looked at.</remarks>
internal sealed class Rehearsal : IAsyncDisposable
{
    private readonly IReadOnlyList<RehearsalStorage> _storages;
    private readonly long[] _currentBytes;

    private Rehearsal(ImageChain chain, IReadOnlyList<RehearsalStorage> storages, long[] currentBytes)
    {
        Chain = chain;
        _storages = storages;
        _currentBytes = currentBytes;
    }

    private ImageChain Chain { get; }

    /// <summary>Opens the stand-in of a chain, of which nothing has been written since it was opened.</summary>
    /// <param name="chain">The chain, which stays open and is only read.</param>
    /// <param name="isBounded">Whether storages that cannot grow end where they do; else it shows how far they would have to reach.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    public static async ValueTask<Rehearsal> OpenAsync(ImageChain chain, bool isBounded, CancellationToken cancellationToken)
    {
        ChainDisk map = await chain.OpenDataAsync(cancellationToken).ConfigureAwait(false);
        var resolver = new StandInResolver(chain, map, isBounded);
        ChainOpenOptions options = chain.Options with
        {
            Resolver = resolver,
            WritableLayers = [.. Enumerable.Range(0, chain.Layers.Count)],
        };
        ImageChain copy = await ImageChain.OpenAsync(resolver.Layers[0], options, cancellationToken).ConfigureAwait(false);
        long[] current = new long[chain.Layers.Count];
        foreach (ChainLayer layer in chain.Layers)
        {
            current[layer.Index] = layer is Qcow2Layer { IsFixedSize: true, Image: var image }
                ? await RefcountReader.FindEndAsync(
                    image.Handle.Storage, image.Header, image.Handle.Limits, cancellationToken).ConfigureAwait(false)
                : layer.Storage.Length;
        }

        return new Rehearsal(copy, resolver.Layers, current);
    }

    /// <summary>Does the operation on the stand-ins. What it leaves behind is not real, and not told.</summary>
    public async Task RunAsync(Func<ImageChain, Task> operation)
    {
        using IDisposable silence = Leftovers.TellTo(static _ => { });
        await operation(Chain).ConfigureAwait(false);
    }

    /// <summary>The room that an image needs.</summary>
    public ImageRoom RoomOf(int layer)
    {
        ChainLayer there = Chain.Layers[layer];
        long current = _currentBytes[layer];
        long cluster = (there as Qcow2Layer)?.Image.ClusterSizeBytes ?? 1;
        long end = _storages[layer].IsOverDevice ? _storages[layer].WrittenEnd : _storages[layer].Length;
        return new ImageRoom(there.Path, current, Math.Max(current, ImageGeometry.DivideRoundingUp(end, cluster) * cluster));
    }

    /// <summary>The room of all images that are written.</summary>
    public IEnumerable<ImageRoom> Rooms() =>
        _storages.Select((storage, index) => (storage, index))
            .Where(static pair => pair.storage.WrittenEnd > 0)
            .Select(pair => RoomOf(pair.index));

    public ValueTask DisposeAsync() => Chain.DisposeAsync();
}
