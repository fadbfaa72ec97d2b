using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Creation;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>The start and the end of backup jobs.</summary>
public sealed partial class RecordingSession
{
    /// <summary>
    /// Creates an image or a raw file for a backup of this disk, with no wider read access than the disk's files. An
    /// existing file is overwritten.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="format"><c>qcow2</c> or <c>raw</c>.</param>
    /// <param name="isBacked">Whether a qcow2 image gets the backing file of the disk's top image, if that has one: a backup with
    /// <see cref="BackupSync.Top"/> and that file are the disk.</param>
    /// <param name="cancellationToken">Ends the creation.</param>
    /// <returns>The disk of the file, for writing; the caller disposes it when the job has ended.</returns>
    /// <exception cref="Qcow2Exception">The file is in use, or such an image cannot be made.</exception>
    /// <exception cref="IOException">The file cannot be created or opened.</exception>
    public async Task<Disk> CreateTargetAsync(
        string path, string format = ImageFormat.Qcow2, bool isBacked = false, CancellationToken cancellationToken = default)
    {
        if (string.Equals(format, ImageFormat.Raw, StringComparison.Ordinal))
        {
            await RawImage.CreateAsync(path, SizeBytes, Preallocation.Off, _chain.Rights, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            ChainLayer? backing = isBacked && _chain.Layers.Count > 1 ? _chain.Layers[1] : null;
            var options = new Qcow2CreateOptions
            {
                SizeBytes = SizeBytes,
                BackingFile = backing?.NameIn(path, null),
                BackingFormat = backing?.Format,
            };
            await FileCreation.CreateAsync(path, options, _chain.Rights, cancellationToken).ConfigureAwait(false);
        }

        // Its backing file is already open as part of this disk, so it may be in any folder.
        ChainOpenOptions opening = _chain.Options with
        {
            AllowedFolders =
            [
                .. _chain.Options.AllowedFolders,
                .. _chain.Layers.Skip(1).Select(static layer => BackingPath.FolderOf(layer.Path)),
            ],
            TopSnapshot = null,
        };
        return await ImageChain.OpenWriterAsync(path, format, opening, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Does something while nobody else uses the bitmaps.</summary>
    internal void WithBits(Action work)
    {
        lock (_bits)
        {
            work();
        }
    }

    /// <summary>Makes a job that does not run yet, and freezes its bitmap. The caller must hold the session exclusively.</summary>
    internal (BackupJob Job, Action Undo) ApplyBackup(BackupJobOptions options)
    {
        BackupSync sync = options.Sync;
        BitmapSyncMode? mode = options.BitmapMode;
        if (sync is BackupSync.Bitmap or BackupSync.Incremental && options.Bitmap is null)
        {
            throw Refuse(options, $"must provide a valid bitmap name for '{NameOf(sync)}' sync mode");
        }

        if (sync == BackupSync.Incremental)
        {
            if (mode is not (null or BitmapSyncMode.OnSuccess))
            {
                throw Refuse(
                    options, $"Bitmap sync mode must be '{NameOf(BitmapSyncMode.OnSuccess)}' when using sync mode '{NameOf(sync)}'");
            }

            mode = BitmapSyncMode.OnSuccess;
            sync = BackupSync.Bitmap;
        }

        LiveBitmap? bitmap = options.Bitmap is null ? null : RequireForBackup(options, sync, mode);
        if (bitmap is null && mode is not null)
        {
            throw Refuse(options, "Cannot specify bitmap sync mode without a bitmap");
        }

        if (Equals(options.Target.Identity, Identity))
        {
            throw Refuse(options, "Source and target cannot be the same");
        }

        if (!options.Target.CanWrite)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.ReadOnly, $"'{options.Target.Name}' is open for reading only");
        }

        if (options.Target.SizeBytes != SizeBytes)
        {
            throw Refuse(options, "Source and target image have different sizes");
        }

        if (options.Compress && !options.Target.CanCompress)
        {
            // QEMU would name the device here, which nodes do not have.
            throw Refuse(options, "Compression is not supported for this drive ");
        }

        var job = new BackupJob(this, options, sync, bitmap, mode ?? BitmapSyncMode.Never);
        if (options.Target is RecordingSession target && !SessionCircles.TryAdd(this, target))
        {
            throw Refuse(options, $"Making '{target.Name}' a backup target of '{Name}' would create a cycle");
        }

        bitmap?.Freeze();
        return (job, () =>
        {
            LeaveTarget(options);
            bitmap?.Reclaim();
        }
        );
    }

    /// <summary>Removes the note of <see cref="ApplyBackup"/> about its target: nothing more is copied there.</summary>
    internal void LeaveTarget(BackupJobOptions options)
    {
        if (options.Target is RecordingSession target)
        {
            SessionCircles.Remove(this, target);
        }
    }

    /// <summary>Lets writes from now on push old data out of their way for a job. The caller must hold the session exclusively.</summary>
    internal void Attach(BackupJob job) => _jobs = [.. _jobs, job];

    /// <summary>Ends a job: decides what happens to its bitmap.</summary>
    /// <param name="job">The job.</param>
    /// <param name="bitmap">Its bitmap.</param>
    /// <param name="mode">What happens to it.</param>
    /// <param name="isSuccess">Returns whether everything was copied; called when no write is in progress.</param>
    /// <param name="remaining">What was not copied.</param>
    internal async ValueTask FinishAsync(
        BackupJob job, LiveBitmap? bitmap, BitmapSyncMode mode, Func<bool> isSuccess, DirtyBitmap remaining)
    {
        using SharedLock.Release alone = await _access.EnterAloneAsync(CancellationToken.None).ConfigureAwait(false);
        bool succeeded = isSuccess();
        try
        {
            if (!succeeded && mode == BitmapSyncMode.Always && bitmap is not null && IsInImage(bitmap.Name))
            {
                await MarkStoredAsync(CancellationToken.None).ConfigureAwait(false);
            }
        }
        finally
        {
            lock (_bits)
            {
                _jobs = [.. _jobs.Where(other => other != job)];
                EndUse(bitmap, mode, succeeded, remaining);
            }
        }
    }

    /// <summary>Marks everything allocated in the top image itself.</summary>
    internal async ValueTask MarkOwnAsync(DirtyBitmap bits, CancellationToken cancellationToken)
    {
        await FlushAsync(cancellationToken).ConfigureAwait(false);
        await foreach (DiskExtent extent in _chain.ListOwnAsync(0, cancellationToken).ConfigureAwait(false))
        {
            if (extent.Kind != ExtentKind.Unallocated)
            {
                bits.Set(extent.OffsetBytes, Math.Min(extent.LengthBytes, bits.SizeBytes - extent.OffsetBytes));
            }
        }
    }

    private void EndUse(LiveBitmap? bitmap, BitmapSyncMode mode, bool succeeded, DirtyBitmap remaining)
    {
        if (bitmap is null)
        {
            return;
        }

        if (mode == BitmapSyncMode.Never || (mode == BitmapSyncMode.OnSuccess && !succeeded))
        {
            bitmap.Reclaim();
            return;
        }

        bitmap.Abdicate();
        if (!succeeded)
        {
            bitmap.Bits.Merge(remaining);
        }

        // The successor is the newer one.
        _bitmaps.Remove(bitmap);
        _bitmaps.Add(bitmap);
    }

    private LiveBitmap RequireForBackup(BackupJobOptions options, BackupSync sync, BitmapSyncMode? mode)
    {
        LiveBitmap bitmap = FindLive(options.Bitmap!) ?? throw Refuse(options, $"Bitmap '{options.Bitmap}' could not be found");
        if (mode is null)
        {
            throw Refuse(options, "Bitmap sync mode must be given when providing a bitmap");
        }

        bitmap.Require(allowsReadOnly: true);
        if (sync == BackupSync.None)
        {
            throw Refuse(options, $"sync mode '{NameOf(sync)}' does not produce meaningful bitmap outputs");
        }

        if (sync != BackupSync.Bitmap && mode == BitmapSyncMode.Never)
        {
            throw Refuse(
                options,
                $"Bitmap sync mode '{NameOf(BitmapSyncMode.Never)}' has no meaningful effect when combined with sync mode "
                + $"'{NameOf(sync)}'");
        }

        // QEMU asks last whether the bitmap can be changed.
        bitmap.Require(allowsReadOnly: mode == BitmapSyncMode.Never);
        return bitmap;
    }

    private async ValueTask CancelJobsAsync()
    {
        BackupJob[] jobs = _jobs;
        foreach (BackupJob job in jobs)
        {
            job.Cancel();
        }

        foreach (BackupJob job in jobs)
        {
            await job.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        }
    }

    private static BitmapStateException Refuse(BackupJobOptions options, PrintableMessage message) => new(options.Bitmap ?? "", message);

    private static string NameOf<T>(T value)
        where T : struct, Enum => KebabCase.From(value.ToString());
}
