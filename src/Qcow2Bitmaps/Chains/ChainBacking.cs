using Qcow2Bitmaps.Images.Guest.Writing;

namespace Qcow2Bitmaps.Chains;

/// <summary>What lies below the top image of a chain.</summary>
internal sealed class ChainBacking(ChainMap map) : IGuestBacking
{
    public ValueTask ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken) =>
        map.ReadAsync(1, offsetBytes, buffer, cancellationToken);
}
