using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>Takes backups of disks that nobody uses meanwhile: full ones, and of what has changed since a checkpoint.</summary>
/// <remarks>
/// <para>
/// Locks keep writers out from before the first byte is read until all is done, so that what is copied, where the bitmaps begin to record,
/// and all disks of one call belong to one point.
/// </para>
/// <para>
/// The order: the images, on disk; the manifests, which say that the backups are whole; those of earlier backups, which give up the bitmaps
/// that the new ones anchor; then one atomic edit that starts the checkpoints, or clears the bitmaps, of all disks; then the manifests
/// again, which say that these record from that point on. So a stop leaves files with <see cref="BackupPaths.PartialSuffix"/>, which the
/// next backup of that name clears away, or, where they are whole, finishes; or whole backups of which it is not known whether their
/// anchors record. On those no other is built until <see cref="BackupVerification"/> has compared them with the disk.
/// </para>
/// </remarks>
public static class DiskBackup
{
    /// <summary>Takes backups of disks at one point.</summary>
    /// <param name="disks">The disks.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Is told how far the copying is, one call after the other, from any thread.</param>
    /// <param name="cancellationToken">Ends the copying.</param>
    /// <returns>What was made, disk by disk.</returns>
    /// <exception cref="ArgumentException">The options do not go together: see <see cref="BackupOptions.FindFault"/>.</exception>
    /// <exception cref="BitmapStateException">A bitmap is not valid over its chain (the message is the verdict), or the checkpoint
    /// cannot start; nothing was changed.</exception>
    /// <exception cref="BackupException">There is no backup to build on, or it cannot be built on; nothing was changed.</exception>
    /// <exception cref="ImageLockedException">Somebody else uses an image.</exception>
    /// <exception cref="Qcow2Exception">An image is broken, or there is no room.</exception>
    /// <exception cref="IOException">A target exists, or a storage failed.</exception>
    public static Task<IReadOnlyList<BackupResult>> RunAsync(
        IReadOnlyList<BackupDisk> disks, BackupOptions options, IProgress<OperationProgress>? progress = null,
        CancellationToken cancellationToken = default) =>
        RunAsync(disks, options, progress, atStep: null, cancellationToken);

    /// <summary>
    /// As the public method; <paramref name="atStep"/> is called between the steps, for tests that look what a stop would leave there.
    /// </summary>
    internal static async Task<IReadOnlyList<BackupResult>> RunAsync(
        IReadOnlyList<BackupDisk> disks, BackupOptions options, IProgress<OperationProgress>? progress, Action<string>? atStep,
        CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(disks);
        ArgumentNullException.ThrowIfNull(options);
        string? fault = options.FindFault(disks.Count) ?? FindFault(disks);
        if (fault is not null)
        {
            throw new ArgumentException(fault, nameof(options));
        }

        await UnfinishedBackup.FinishAsync(disks, cancellationToken).ConfigureAwait(false);
        var jobs = new List<DiskBackupRun>();
        try
        {
            string? set = disks.Count > 1 ? Guid.NewGuid().ToString("N") : null;
            foreach (BackupDisk disk in disks)
            {
                jobs.Add(await DiskBackupRun.OpenAsync(disk, options, cancellationToken).ConfigureAwait(false));
            }

            Qcow2Image[] writable = [.. jobs.SelectMany(static job => job.Writable)];
            foreach (DiskBackupRun job in jobs)
            {
                await job.PrepareAsync(set, writable, cancellationToken).ConfigureAwait(false);
            }

            await CopyAsync(jobs, progress, cancellationToken).ConfigureAwait(false);
            atStep?.Invoke("copied");
            try
            {
                foreach (DiskBackupRun job in jobs)
                {
                    job.Place();
                    atStep?.Invoke("placed");
                }

                foreach (DiskBackupRun job in jobs)
                {
                    await job.WithdrawFormerAsync().ConfigureAwait(false);
                }

                await AnchorAsync(jobs, atStep).ConfigureAwait(false);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException && jobs.Exists(static job => job.IsPlaced))
            {
                throw Unanchored(jobs, e);
            }

            return [.. jobs.Select(static job => job.Result)];
        }
        finally
        {
            foreach (DiskBackupRun job in jobs)
            {
                await job.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    private static string? FindFault(IReadOnlyList<BackupDisk> disks) =>
        disks.Select(static disk => FileNames.Whole(disk.TargetPath)).Distinct(StringComparer.Ordinal).Count() < disks.Count
            ? "Two disks have one target"
        : disks.Select(static disk => FileNames.Whole(disk.TopPath)).Distinct(StringComparer.Ordinal).Count() < disks.Count
            ? "One disk is named twice"
        : null;

    private static async ValueTask CopyAsync(
        List<DiskBackupRun> jobs, IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        try
        {
            long total = jobs.Sum(static job => job.SizeBytes);
            long done = 0;
            foreach (DiskBackupRun job in jobs)
            {
                await job.CopyAsync(ProgressShare.Of(progress, done, total), cancellationToken).ConfigureAwait(false);
                done += job.SizeBytes;
            }
        }
        catch
        {
            foreach (DiskBackupRun job in jobs)
            {
                try
                {
                    await job.AbandonAsync().ConfigureAwait(false);
                }
                catch (IOException)
                {
                    // The error that ended the copying is on its way and tells more. What is left has the name of something unfinished.
                }
            }

            throw;
        }
    }

    /// <summary>Says of whole backups that no other can be built on them.</summary>
    private static BackupException Unanchored(List<DiskBackupRun> jobs, Exception e)
    {
        string whole = string.Join(", ", jobs.Where(static job => job.IsPlaced).Select(static job => $"'{job.ManifestPath}'"));
        string why = e is Qcow2Exception
            ? "bitmaps were not changed"
            : "it is unknown whether bitmaps record since then; 'backup verify --disk' finds out";
        return new BackupException($"{e}. The backup {whole} is whole and can be restored; {why}", e);
    }

    /// <summary>From here on nothing is cancelled: the backups are whole.</summary>
    private static async ValueTask AnchorAsync(List<DiskBackupRun> jobs, Action<string>? atStep)
    {
        var edits = new BitmapEditSet();
        jobs.ForEach(job => job.AddEdits(edits));
        try
        {
            await edits.CommitAsync(cancellationToken: CancellationToken.None).ConfigureAwait(false);
        }
        catch (Qcow2Exception)
        {
            // It was refused, so that nothing has changed; the backups are good for restoring.
            jobs.ForEach(static job => Leftovers.Tidy(
                $"'{job.ManifestPath}' does not say that no bitmap records since then; 'backup verify --disk' finds that out",
                () => job.Confirm(isEdited: false)));
            throw;
        }

        atStep?.Invoke("anchored");
        foreach (DiskBackupRun job in jobs)
        {
            _ = Leftovers.Tidy(
                $"The backup is taken, but '{job.ManifestPath}' does not say yet that its bitmap records since then; "
                + $"'backup verify --disk' finds that out",
                () => job.Confirm(isEdited: true));
            atStep?.Invoke("confirmed");
        }
    }
}
