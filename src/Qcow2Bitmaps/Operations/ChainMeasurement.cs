namespace Qcow2Bitmaps.Operations;

/// <summary>
/// The room that an operation on a chain needs, bitmaps included, and what will become of bitmaps, before anything is written.
/// </summary>
/// <remarks>
/// <para>
/// The operation is gone through on stand-ins for the files that take writes in memory, so that it is refused here for the same reasons.
/// The number is the length that the file needs; where all was read (<see cref="MeasureDepth.Data"/>) that is the length that it has
/// afterwards, rounded up to a whole cluster, if nobody writes the images in between.
/// </para>
/// <para>
/// One case is not told to the byte: the file may end up to 1 MiB for each worker from there, either way, where a target frees clusters
/// (zeros that take the place of data, data of internal snapshots or compressed ones) and its tables that change take more than 32 MiB, as
/// then it depends on the workers' pace what is freed in time to be used again. <see cref="MeasureDepth.Tables"/> is never less than
/// <see cref="MeasureDepth.Data"/>, and more by at most the clusters that are allocated and hold zeros, or lie beside such.
/// </para>
/// </remarks>
public sealed record ChainMeasurement
{
    internal ChainMeasurement(ImageRoom target, IReadOnlyList<ImageRoom> images, ChainResult forecast) =>
        (Target, Images, Forecast) = (target, images, forecast);

    /// <summary>The image that takes the data; of an operation that changes bitmaps only the topmost that is written.</summary>
    public ImageRoom Target { get; }

    /// <summary>
    /// The length that the target has once its disk and all its bitmaps are full, at most; null where the target is raw, or its own past
    /// tells more.
    /// </summary>
    public long? FullyAllocatedBytes { get; internal init; }

    /// <summary>
    /// Whether the number is that which the operation will need; else it may be less (see the remarks), or is without data.
    /// </summary>
    internal bool IsExact { get; init; } = true;

    /// <summary>All images that are written, the target among them.</summary>
    public IReadOnlyList<ImageRoom> Images { get; }

    /// <summary>What will be done.</summary>
    public ChainResult Forecast { get; }

    internal static long FullyAllocated(ImageChain chain, Qcow2CreateOptions create)
    {
        // Counts of the bitmaps' clusters take at most one more in eight, and one: blocks of 64 bits in the smallest clusters hold 64.
        long bitmaps = chain.Layers[0] is Qcow2Layer { Image: var image }
            ? ImageMeasurement.BitmapsOf(image, create.SizeBytes, create.ClusterSizeBytes)
            : 0;
        return ImageMeasurement.OfEmpty(create).FullyAllocatedBytes + bitmaps + WholeClusters((bitmaps / 8) + 1, create);
    }

    internal static long WholeClusters(long bytes, Qcow2CreateOptions create) =>
        ImageGeometry.DivideRoundingUp(bytes, create.ClusterSizeBytes) * create.ClusterSizeBytes;
}
