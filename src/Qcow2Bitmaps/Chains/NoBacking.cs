using Qcow2Bitmaps.Images.Guest.Writing;

namespace Qcow2Bitmaps.Chains;

/// <summary>What lies below an image without a backing file that is about to get one: zeros, which the image has to hold itself from then on.</summary>
internal sealed class NoBacking : IGuestBacking
{
    public ValueTask ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        buffer.Span.Clear();
        return ValueTask.CompletedTask;
    }
}
