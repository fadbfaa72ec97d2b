using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>The disk that the guest would see of an image of a chain, without those above.</summary>
internal sealed class LayerDisk(ChainMap map, int layer) : IBackingDisk
{
    public long SizeBytes => map.From(layer).SizeBytes;

    public ValueTask ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken) => map.ReadAsync(layer, offsetBytes, buffer, cancellationToken);

    public IAsyncEnumerable<StorageRange> ListDataAsync(long startBytes, long endBytes, CancellationToken cancellationToken) =>
        map.From(layer).ListDataAsync(startBytes, endBytes, 1, cancellationToken);
}
