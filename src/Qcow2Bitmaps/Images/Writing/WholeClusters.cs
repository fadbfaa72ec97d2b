using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>Writes structures to their own clusters. The rest of the last cluster is zeroed: a reader with a wrong size finds no old bytes
/// after the structure.</summary>
internal static class WholeClusters
{
    /// <summary>Writes a structure.</summary>
    /// <param name="storage">The image.</param>
    /// <param name="geometry">Its cluster arithmetic.</param>
    /// <param name="offset">Where its first cluster starts, in bytes.</param>
    /// <param name="bytes">The structure.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask WriteAsync(
        ImageStorage storage, ImageGeometry geometry, HostOffset offset, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        long end = offset.Bytes + bytes.Length;
        // Where the file grows, it already contains zeros.
        long staleEnd = Math.Min(offset.Bytes + (geometry.ClustersFor(bytes.Length) << geometry.ClusterBits), storage.Length);
        await storage.WriteAsync(offset.Bytes, bytes, cancellationToken).ConfigureAwait(false);
        if (end < staleEnd && !await storage.TryZeroAsync(end, staleEnd - end, cancellationToken).ConfigureAwait(false))
        {
            await storage.WriteAsync(end, new byte[staleEnd - end], cancellationToken).ConfigureAwait(false);
        }
    }
}
