using Qcow2Bitmaps.Copying;

namespace Qcow2Bitmaps;

/// <summary>Compares, converts and measures disks: qemu-img's <c>compare</c>, <c>convert</c> and <c>measure</c>. Thread-safe.</summary>
public static class DiskCopy
{
    /// <summary>
    /// Compares the guest-visible content of two disks. Parts that are zeros in both, or at the same place of the same file, are not read.
    /// </summary>
    /// <param name="first">One disk.</param>
    /// <param name="second">The other one.</param>
    /// <param name="strict">Whether the sizes, and how the images store each part of the disk, must match too, as with
    /// <c>-s</c> of qemu-img.</param>
    /// <param name="progress">Receives, from any thread, the position on the disk that the comparison has reached, in bytes.</param>
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

    /// <summary>Copies disks, concatenated, to a file or block device.</summary>
    /// <param name="sources">The disks, at least one.</param>
    /// <param name="targetPath">The target. Unless it is written in place, it is created anew, replacing an existing file.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Receives the number of bytes of the disk that are done; calls are sequential, from any thread.</param>
    /// <param name="cancellationToken">Ends the copying.</param>
    /// <returns>The verdicts on bitmaps that were skipped because they are not valid.</returns>
    /// <remarks>
    /// <para>
    /// Zeros known from the maps are not read, and zeros are not written where the target already reads as zeros. If the target's backing
    /// file is part of the source's chain, data in it or below it are not written either. With any other backing file, the data below the
    /// source's top image are compared with what the target reads, and written only if they differ.
    /// </para>
    /// <para>If the copy fails, a target that did not exist before is deleted, unless it has an external data file; one that was being
    /// overwritten is lost. A target that is also an image of a source is refused.</para>
    /// </remarks>
    /// <exception cref="ArgumentException">The options do not go together (see
    /// <see cref="ConversionOptions.FindFault"/>), or there is no source.</exception>
    /// <exception cref="BitmapStateException">A bitmap cannot be copied; nothing is written.</exception>
    /// <exception cref="ImageLockedException">Another process has the target open.</exception>
    /// <exception cref="NoSpaceException">The target is too small and cannot grow.</exception>
    /// <exception cref="Qcow2FormatException">A source has an invalid table entry or a broken compressed cluster; or the existing
    /// target is broken.</exception>
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

    /// <summary>Measures a qcow2 target for the guest-visible content of a chain.</summary>
    /// <param name="source">The chain.</param>
    /// <param name="target">How the target is created; its size is always the source's.</param>
    /// <param name="cancellationToken">Ends the reading of tables.</param>
    /// <exception cref="ArgumentException">The options do not go together.</exception>
    /// <exception cref="Qcow2UnsupportedException">The disk is too large for them.</exception>
    /// <exception cref="Qcow2FormatException">A table has an invalid entry.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public static async Task<ImageMeasurement> MeasureAsync(
        ImageChain source, Qcow2CreateOptions target, CancellationToken cancellationToken = default) =>
        await ImageMeasurement.OfChainAsync(source, target, cancellationToken).ConfigureAwait(false);
}
