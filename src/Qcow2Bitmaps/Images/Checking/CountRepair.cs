using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Repairs reference counts and everything else that guest data need. The caller holds the image's gate.</summary>
internal static class CountRepair
{
    /// <summary>Updates reference counts that a crash has left stale, as QEMU does whenever it opens an image for writing.</summary>
    /// <exception cref="Qcow2FormatException">The image is too broken to be checked.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask RunIfDirtyAsync(ImageHandle image, CancellationToken cancellationToken)
    {
        // A corrupt image is not repaired without request.
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
    /// Clears only unknown autoclear bits: the specification requires that of every program that opens an image for writing, even if there
    /// is nothing to repair.
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
    /// Checks, repairs what may be repaired, and completes the snapshot table if nothing else is left to repair. The caller must read the
    /// image again afterwards.
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
