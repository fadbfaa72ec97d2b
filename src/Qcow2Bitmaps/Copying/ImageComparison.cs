using Qcow2Bitmaps.Copying;

namespace Qcow2Bitmaps;

/// <summary>What a comparison of two disks found.</summary>
/// <param name="Outcome">The first difference's kind, or none.</param>
/// <param name="OffsetBytes">Where the first difference is, in bytes: the sector of 512 bytes, or the part that the images have
/// in different ways. 0 without one.</param>
/// <param name="SizesDiffer">Whether one disk is longer than the other; not looked at when the bytes differ
/// before the shorter one's end.</param>
public sealed record ImageComparison(ComparisonOutcome Outcome, long OffsetBytes, bool SizesDiffer)
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
    public static async ValueTask<ImageComparison> CompareAsync(
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
}
