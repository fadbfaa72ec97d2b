using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Repairs reference counts and what else guest data need. For who is inside the image's gate.</summary>
internal static class CountRepair
{
    /// <summary>
    /// Brings reference counts up to date that a crash has left behind, as QEMU does whenever it opens an image for writing.
    /// </summary>
    /// <exception cref="Qcow2FormatException">The image is too broken to be checked.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask RunIfDirtyAsync(ImageHandle image, CancellationToken cancellationToken)
    {
        // A corrupt image is not touched unasked.
        if (!image.Storage.CanWrite
            || (image.Header.IncompatibleFeatures & (
                IncompatibleFeatures.Dirty | IncompatibleFeatures.Corrupt)) != IncompatibleFeatures.Dirty)
        {
            return;
        }

        _ = await image.ChangeAsync(async () =>
        {
            await ClearUnknownBitsAsync(image, cancellationToken).ConfigureAwait(false);
            return await RunAsync(image, RepairKinds.All, new FindingLog(), cancellationToken).ConfigureAwait(false);
        }).ConfigureAwait(false);
    }

    /// <summary>
    /// Clears autoclear bits that are not known here, and nothing else: the specification asks that of whoever opens for writing,
    /// whether there is something to repair or not.
    /// </summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask ClearUnknownBitsAsync(ImageHandle image, CancellationToken cancellationToken)
    {
        SwitchPlan plan = await new HeaderChange().PlanAsync(image.Storage, image.Header, cancellationToken).ConfigureAwait(false);
        if (!plan.IsEmpty)
        {
            await plan.ApplyAsync(image.Storage).ConfigureAwait(false);
            await image.ReloadAsync().ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Checks, repairs what may be repaired, and completes the snapshot table where that is all that is left.
    /// The image is to be read again afterwards.
    /// </summary>
    /// <exception cref="Qcow2FormatException">The image is too broken to be checked.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<CheckReport> RunAsync(
        ImageHandle image, RepairKinds kinds, FindingLog log, CancellationToken cancellationToken)
    {
        var checker = new ImageChecker(image, kinds, log);
        CheckReport report = await checker.RepairAsync(cancellationToken).ConfigureAwait(false);
        if (checker.MustCompleteSnapshots && report.CheckErrors == 0)
        {
            await image.ReloadAsync().ConfigureAwait(false);
            await SnapshotTableRepair.RunAsync(image.Storage, image.Contents, image.Limits, cancellationToken).ConfigureAwait(false);
        }

        return report;
    }
}
