using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Operations;

/// <summary>
/// The space that an operation on a chain needs, bitmaps included, and what will happen to bitmaps, before anything is written.
/// </summary>
/// <remarks>
/// <para>
/// The operation is rehearsed on stand-ins for the files, which keep writes in memory; so it is refused here for the same reasons. The
/// result is the length that the file needs. If all data were read, that is the file's length afterwards, rounded up to a whole cluster,
/// provided that nothing writes the images in between.
/// </para>
/// <para>
/// In one case the result is not exact: the real length may differ by up to 1 MiB per worker, either way, if a target frees clusters (zeros
/// that replace data, data of internal snapshots, or compressed data) and its modified tables exceed 32 MiB. Then the timing of the workers
/// decides which clusters are freed early enough to be reused. If only tables were read, the result is never less than if data were read,
/// and more by at most the allocated clusters that contain zeros, or are adjacent to such.
/// </para>
/// </remarks>
public sealed record ChainMeasurement
{
    internal ChainMeasurement(ImageRoom target, IReadOnlyList<ImageRoom> images, ChainResult forecast) =>
        (Target, Images, Forecast) = (target, images, forecast);

    /// <summary>The image that takes the data; of an operation that changes bitmaps only the topmost that is written.</summary>
    public ImageRoom Target { get; }

    /// <summary>
    /// The length that the target has once its disk and all its bitmaps are full, at most; null where the target is raw, or
    /// exists already and may have any length.
    /// </summary>
    public long? FullyAllocatedBytes { get; internal init; }

    /// <summary>
    /// Whether the result is what the operation will need; if not, that may be less (see the remarks), or the result excludes data.
    /// </summary>
    internal bool IsExact { get; init; } = true;

    /// <summary>All images that are written, the target among them.</summary>
    public IReadOnlyList<ImageRoom> Images { get; }

    /// <summary>What will be done.</summary>
    public ChainResult Forecast { get; }

    internal static long FullyAllocated(ImageChain chain, Qcow2CreateOptions create)
    {
        // Refcounts for the bitmaps' clusters take at most an eighth of them plus one: blocks of 64-bit counts in the
        // smallest clusters hold 64.
        long bitmaps = chain.Layers[0] is Qcow2Layer { Image: var image }
            ? ImageMeasurement.BitmapsOf(image, create.SizeBytes, create.ClusterSizeBytes)
            : 0;
        return ImageMeasurement.OfEmpty(create).FullyAllocatedBytes + bitmaps + WholeClusters((bitmaps / 8) + 1, create);
    }

    internal static long WholeClusters(long bytes, Qcow2CreateOptions create) =>
        ImageGeometry.DivideRoundingUp(bytes, create.ClusterSizeBytes) * create.ClusterSizeBytes;
}
