using Qcow2Bitmaps.Images.Guest.Writing;

namespace Qcow2Bitmaps.Chains;

/// <summary>What lies below an image of a chain.</summary>
internal sealed class ChainBacking(ChainMap map, int depth) : IGuestBacking
{
    public ValueTask ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken) =>
        map.ReadAsync(depth, offsetBytes, buffer, cancellationToken);
}
