using Qcow2Bitmaps.Copying;

namespace Qcow2Bitmaps;

/// <summary>Compares, converts and measures disks: qemu-img's <c>compare</c>, <c>convert</c> and <c>measure</c>. Thread-safe.</summary>
public static class DiskCopy
{
    /// <summary>
    /// Compares what the guest sees of two disks. What both have as zeros, or in the same place of the same file, is not read.
    /// </summary>
    /// <param name="first">One disk.</param>
    /// <param name="second">The other one.</param>
    /// <param name="strict">Whether the sizes, and how the images have each part of the disk, must be the same too: what
    /// qemu-img compares with <c>-s</c>.</param>
    /// <param name="progress">Is told, from the calling context, where the comparison has got to on the disk, in bytes.</param>
    /// <param name="cancellationToken">Ends the comparison.</param>
    /// <returns>What was found.</returns>
    /// <exception cref="Qcow2FormatException">A table has an entry that cannot be, or a compressed cluster is broken.</exception>
    /// <exception cref="Qcow2UnsupportedException">An image is encrypted, or its data file's name is refused.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public static async Task<ImageComparison> CompareAsync(
        Disk first, Disk second, bool strict = false, IProgress<OperationProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        var comparer = new DiskComparer(
            await first.PrepareAsync(cancellationToken).ConfigureAwait(false),
            await second.PrepareAsync(cancellationToken).ConfigureAwait(false), strict, progress);
        return await comparer.RunAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Copies disks, one behind the other, to a file or block device.</summary>
    /// <param name="sources">The disks, at least one.</param>
    /// <param name="targetPath">The target. Unless it is to be written as it is, it is made anew, whatever there was.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Is told how many bytes of the disk are done, one call after the other, from any thread.</param>
    /// <param name="cancellationToken">Ends the copying.</param>
    /// <returns>The verdicts on bitmaps that were left behind as not valid.</returns>
    /// <remarks>
    /// <para>
    /// What the maps say to be zeros is not read, and what reads as zeros on the target not written. Where the target has a backing file
    /// that is one of the source's chain, what stands there or below is not written either; of any other backing file what lies below the
    /// source's top image is compared with what the target reads, and written where that differs.
    /// </para>
    /// <para>A target that was not there before goes again when the copying fails; one that is overwritten is lost then. A target that
    /// is an image of a source is refused.</para>
    /// </remarks>
    /// <exception cref="ArgumentException">The options do not go together (see
    /// <see cref="ConversionOptions.FindFault"/>), or there is no source.</exception>
    /// <exception cref="BitmapStateException">A bitmap cannot be copied; nothing is written.</exception>
    /// <exception cref="ImageLockedException">Somebody else has the target open.</exception>
    /// <exception cref="NoSpaceException">The target is too small and cannot grow.</exception>
    /// <exception cref="Qcow2FormatException">A source has a table entry that cannot be, or a compressed cluster that is broken; or the
    /// target, where it exists, is broken.</exception>
    /// <exception cref="Qcow2UnsupportedException">An image is encrypted, a name in one is refused, or
    /// bitmaps are asked of a raw source.</exception>
    /// <exception cref="IOException">A storage failed, or the target is also a source.</exception>
    /// <exception cref="UnauthorizedAccessException">The permissions forbid it.</exception>
    public static Task<IReadOnlyList<BitmapVerdict>> ConvertAsync(
        IReadOnlyList<Disk> sources, string targetPath, ConversionOptions options, IProgress<OperationProgress>? progress = null,
        CancellationToken cancellationToken = default) =>
        ImageConversion.ConvertAsync(sources, targetPath, options, progress, cancellationToken);

    /// <summary>Measures a raw target.</summary>
    /// <param name="sizeBytes">The disk's size in bytes.</param>
    public static ImageMeasurement MeasureRaw(long sizeBytes) => ImageMeasurement.OfRaw(sizeBytes);

    /// <summary>Measures a new qcow2 target of a size without data.</summary>
    /// <param name="target">What the target is like.</param>
    /// <exception cref="ArgumentException">The options do not go together.</exception>
    /// <exception cref="Qcow2UnsupportedException">The disk is too large for them.</exception>
    public static ImageMeasurement MeasureEmpty(Qcow2CreateOptions target) => ImageMeasurement.OfEmpty(target);

    /// <summary>Measures a qcow2 target for what the guest sees of a chain.</summary>
    /// <param name="source">The chain.</param>
    /// <param name="target">What the target is like; its size is the source's, whatever it says.</param>
    /// <param name="cancellationToken">Ends the reading of tables.</param>
    /// <exception cref="ArgumentException">The options do not go together.</exception>
    /// <exception cref="Qcow2UnsupportedException">The disk is too large for them.</exception>
    /// <exception cref="Qcow2FormatException">A table's entry cannot be.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public static async Task<ImageMeasurement> MeasureAsync(
        ImageChain source, Qcow2CreateOptions target, CancellationToken cancellationToken = default) =>
        await ImageMeasurement.OfChainAsync(source, target, cancellationToken).ConfigureAwait(false);
}
