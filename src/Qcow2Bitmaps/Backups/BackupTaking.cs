using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

// Decisions: docs/decisions/backups.md.
/// <summary>Takes backups of disks at one point.</summary>
internal static class BackupTaking
{
    /// <summary>Takes them.</summary>
    /// <param name="disks">The disks.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Is told how far the copying is.</param>
    /// <param name="atStep">Is called between the steps, for tests that look what an interruption would leave there.</param>
    /// <param name="cancellationToken">Ends the copying.</param>
    public static async Task<IReadOnlyList<StoredBackup>> RunAsync(
        IReadOnlyList<BackupDisk> disks, BackupOptions options, IProgress<OperationProgress>? progress, Action<string>? atStep,
        CancellationToken cancellationToken)
    {
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
            long total = DiskBytes.Total(jobs.Select(static job => job.SizeBytes));
            long done = 0;
            foreach (DiskBackupRun job in jobs)
            {
                await job.CopyAsync(new ProgressShare(progress, done, total), cancellationToken).ConfigureAwait(false);
                done = DiskBytes.Add(done, job.SizeBytes);
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
                catch (Exception e) when (e is IOException or UnauthorizedAccessException)
                {
                    // The error that stopped the copying is being thrown and says more. The remaining file has the
                    // name of an unfinished one.
                }
            }

            throw;
        }
    }

    /// <summary>The error for complete backups that no other can be based on.</summary>
    private static BackupException Unanchored(List<DiskBackupRun> jobs, Exception e)
    {
        string whole = string.Join(", ", jobs.Where(static job => job.IsPlaced).Select(static job => $"'{job.ManifestPath}'"));
        var known = e as Qcow2Exception;
        string why = known is not null ? "bitmaps were not changed" : "it is unknown whether bitmaps record since then";
        return new BackupException($"{e}. The backup {whole} is whole and can be restored; {why}", e)
        {
            Remedy = known is null ? Remedy.VerifyBackup : known.Remedy,
        };
    }

    /// <summary>From here on nothing is cancelled, as the backups are complete.</summary>
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
            // The edit was refused, so nothing has changed. The backups can still be restored.
            jobs.ForEach(static job => Leftovers.Tidy(
                $"'{job.ManifestPath}' does not say that no bitmap records since then; a verification with the disk finds that out",
                () => job.Confirm(isEdited: false)));
            throw;
        }

        atStep?.Invoke("anchored");
        foreach (DiskBackupRun job in jobs)
        {
            _ = Leftovers.Tidy(
                $"The backup is taken, but '{job.ManifestPath}' does not say yet that its bitmap records since then; "
                + $"a verification with the disk finds that out",
                () => job.Confirm(isEdited: true));
            atStep?.Invoke("confirmed");
        }
    }
}
