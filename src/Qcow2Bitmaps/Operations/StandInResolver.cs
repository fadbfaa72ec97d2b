using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>
/// Has the storages of an open chain stand in for the files that its images name, each behind one that takes writes in memory.
/// </summary>
internal sealed class StandInResolver(ImageChain chain, ChainDisk map, bool isBounded) : IBackingResolver
{
    private readonly RehearsalStorage[] _layers = [.. chain.Layers.Select(layer => new RehearsalStorage(layer.Storage, isBounded))];

    /// <summary>The stand-ins, the top first.</summary>
    public IReadOnlyList<RehearsalStorage> Layers => _layers;

    public ValueTask<ImageStorage> OpenAsync(BackingReference reference, ImageLock imageLock, CancellationToken cancellationToken)
    {
        // A data file's reference has its image's depth, a backing file's the next one.
        ChainLayer layer = chain.Layers[reference.Depth];
        bool isDataFile = layer is Qcow2Layer { Image.Header.HasExternalDataFile: true, Image: var image }
            && string.Equals(image.DataFile, reference.FileName, StringComparison.Ordinal)
            && string.Equals(layer.Path, reference.ImagePath, StringComparison.Ordinal);
        return ValueTask.FromResult<ImageStorage>(
            isDataFile ? new RehearsalStorage(map.DiskOf(reference.Depth)!.Data!, isBounded) : _layers[reference.Depth]);
    }
}
