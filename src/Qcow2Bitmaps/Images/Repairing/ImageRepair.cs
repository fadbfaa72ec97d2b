using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Images.Repairing;

/// <summary>Repairs an image: reference counts, then bitmaps, then the counts of clusters that the bitmaps freed.</summary>
internal static class ImageRepair
{
    /// <summary>Repairs; where anything was repaired, checks the image again.</summary>
    /// <exception cref="InvalidOperationException">Repair of bitmaps was requested, but a recording session keeps them in
    /// memory.</exception>
    /// <exception cref="Qcow2Exception">The image cannot be written, is too broken to be checked, has no room, or an edit of several
    /// images was interrupted.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<CheckReport> RunAsync(ImageHandle image, RepairKinds kinds, CancellationToken cancellationToken)
    {
        if (!image.Storage.CanWrite)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.ReadOnly, $"'{image.Name}' is open for reading only");
        }

        using ImageGate.Release alone = await image.EnterAsync(cancellationToken).ConfigureAwait(false);
        InterruptedEdit.RequireNone(image);
        if (kinds.HasFlag(RepairKinds.Bitmaps))
        {
            image.RequireNotRecorded();
        }

        var log = new FindingLog();
        CheckReport? report = await image.ChangeAsync(() => RepairAsync(image, kinds, log, cancellationToken)).ConfigureAwait(false);
        if (report is not null && log.CorruptionsFixed + log.LeaksFixed == 0)
        {
            return report;
        }

        CheckReport after = ImageChecker.HasTooManyClusters(image)
            ? NotChecked(image)
            : await new ImageChecker(
                image, RepairKinds.None, new FindingLog()).CheckAsync(cancellationToken).ConfigureAwait(false);
        return after with { CorruptionsFixed = log.CorruptionsFixed, LeaksFixed = log.LeaksFixed, Repairs = log.Told };
    }

    /// <summary>Bitmaps can be repaired where the image is too long to be checked.</summary>
    private static CheckReport NotChecked(ImageHandle image)
    {
        var log = new FindingLog();
        log.Fail($"The image is not checked: it has more than {int.MaxValue} clusters");
        return new CheckReport
        {
            Corruptions = 0,
            Leaks = 0,
            CheckErrors = log.CheckErrors,
            TotalClusters = image.Geometry.ClustersFor(image.Geometry.VirtualSizeBytes),
            AllocatedClusters = 0,
            FragmentedClusters = 0,
            CompressedClusters = 0,
            ImageEndOffset = 0,
            Findings = log.Told,
        };
    }

    /// <summary>Repairs.</summary>
    /// <returns>The result of the last check of the counts; null if they were not checked.</returns>
    private static async ValueTask<CheckReport?> RepairAsync(
        ImageHandle image, RepairKinds kinds, FindingLog log, CancellationToken cancellationToken)
    {
        RepairKinds counts = kinds & RepairKinds.All;
        await CountRepair.ClearUnknownBitsAsync(image, cancellationToken).ConfigureAwait(false);
        CheckReport? report = counts == RepairKinds.None
            ? null
            : await CountRepair.RunAsync(image, counts, log, cancellationToken).ConfigureAwait(false);
        if (!kinds.HasFlag(RepairKinds.Bitmaps))
        {
            return report;
        }

        long before = log.CorruptionsFixed;
        // With a lenient reader, which lists what is broken.
        ImageHandle lenient = await ImageHandle.OpenAsync(
            image.Storage, Strictness.Lenient, image.Limits, cancellationToken).ConfigureAwait(false);
        await new BitmapRepair(lenient, log).RunAsync(cancellationToken).ConfigureAwait(false);
        await image.ReloadAsync().ConfigureAwait(false);
        if (counts == RepairKinds.None || log.CorruptionsFixed == before)
        {
            return report;
        }

        // What the bitmaps no longer have are leaks, and all that is in use can be counted now.
        log.Recount(0, 0, 0);
        return await CountRepair.RunAsync(image, counts, log, cancellationToken).ConfigureAwait(false);
    }
}
