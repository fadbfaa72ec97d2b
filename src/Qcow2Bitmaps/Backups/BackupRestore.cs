using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>Makes a disk from backups, as it was at a point in time.</summary>
public static class BackupRestore
{
    /// <summary>
    /// Writes the disk of a backup to a new image: the full backup first, then one after the other what was copied since, each
    /// compared with its checksums while it is written.
    /// </summary>
    /// <param name="path">The backup's manifest, or its image.</param>
    /// <param name="targetPath">The image to make: a file that is not there yet, or a block device. Until the disk is whole the file has
    /// <see cref="BackupPaths.PartialSuffix"/> added to its name.</param>
    /// <param name="isQcow2">Whether it is a qcow2 image; else it is raw.</param>
    /// <param name="checkpoint">The point: a checkpoint that started with the backup or with one that it
    /// stands on; the backup itself when null.</param>
    /// <param name="workers">How many parts are in work at a time.</param>
    /// <param name="progress">Is told how far the work is.</param>
    /// <param name="cancellationToken">Ends the work; the unfinished file is removed.</param>
    /// <returns>The backup whose disk was restored.</returns>
    /// <exception cref="BackupException">A backup is damaged, missing, or not whole; or none started the checkpoint.</exception>
    /// <exception cref="NoSpaceException">The device is too small.</exception>
    /// <exception cref="IOException">The target exists, or a file cannot be read or written.</exception>
    public static async Task<StoredBackup> RunAsync(
        string path, string targetPath, bool isQcow2, string? checkpoint = null, int? workers = null,
        IProgress<OperationProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentException.ThrowIfNullOrEmpty(targetPath);
        IReadOnlyList<StoredBackup> chain = await BackupStore.ReadChainAsync(path, cancellationToken).ConfigureAwait(false);
        chain = [.. chain.Skip(IndexOf(chain, checkpoint))];
        bool isDevice = FileStorage.IdentityOf(targetPath) is { } && BackupTargetFile.IsDevice(targetPath);
        string written = isDevice ? targetPath : BackupPaths.PartialOf(targetPath);
        if (!isDevice && DurableFile.Exists(targetPath))
        {
            throw IOException.Of($"'{targetPath}' exists: a disk is restored to a new file, or to a block device");
        }

        string manifest = BackupPaths.ManifestOf(targetPath);
        if (!isDevice && (DurableFile.Exists(manifest) || DurableFile.Exists(BackupPaths.PartialOf(manifest))))
        {
            // What the unfinished one has may be nowhere else.
            throw IOException.Of($"'{targetPath}' is the name of a backup, whole or unfinished: a disk is restored to a name of its own");
        }

        var options = new ConversionOptions
        {
            IsQcow2 = isQcow2,
            Flush = false,
            SparseBytes = GroupDigests.BlockBytes,
            Workers = workers ?? ConversionOptions.DefaultWorkers,
            UsesReflinks = false,
        };
        long size = chain[0].Manifest.SizeBytes;
        FileRights rights = chain.Aggregate(FileRights.Plain, static (rights, backup) => rights.With(backup.ImagePath));
        CopyTarget target = await CopyTarget.CreateAsync(written, size, options, rights, cancellationToken).ConfigureAwait(false);
        await using (target.ConfigureAwait(false))
        {
            if (target.ZeroFromBytes > 0 && size > 0)
            {
                // A device, which has anything.
                await target.Disk.WriteZerosAsync(0, size, mayUnmap: true, cancellationToken).ConfigureAwait(false);
            }

            await WriteAsync(
                chain, new RestoredDisk(target.Disk, size), options.Workers, progress, cancellationToken).ConfigureAwait(false);
            await target.CompleteAsync([], cancellationToken).ConfigureAwait(false);
        }

        await BackupTargetFile.FlushAsync(written).ConfigureAwait(false);
        if (!isDevice)
        {
            DurableFile.Move(written, targetPath);
            _ = Leftovers.Tidy(
                $"The disk is restored, but the name of '{targetPath}' may not survive a loss of power",
                () => DurableFile.FlushFolderOf(targetPath));
        }

        return chain[0];
    }

    private static int IndexOf(IReadOnlyList<StoredBackup> chain, string? checkpoint)
    {
        if (checkpoint is null)
        {
            return 0;
        }

        int index = chain.ToList().FindIndex(backup => string.Equals(backup.Manifest.Checkpoint, checkpoint, StringComparison.Ordinal));
        return index >= 0 ? index : throw new BackupException(
            $"No backup started checkpoint '{checkpoint}', neither '{chain[0].ManifestPath}' nor one that it is based on. These did: "
            + $"{string.Join(", ", chain.Select(static backup => backup.Manifest.Checkpoint).OfType<string>())}");
    }

    private static async ValueTask WriteAsync(
        IReadOnlyList<StoredBackup> chain, RestoredDisk target, int workers, IProgress<OperationProgress>? progress,
        CancellationToken cancellationToken)
    {
        long total = chain.Sum(static backup => backup.Manifest.SizeBytes);
        long done = 0;
        foreach (StoredBackup backup in chain.Reverse())
        {
            await target.BeginAsync(backup.Manifest, cancellationToken).ConfigureAwait(false);
            var check = new GroupCheck(backup.Manifest.Groups, damage => throw new BackupException(
                $"'{backup.ImagePath}' is damaged from byte {damage.OffsetBytes} of the disk on: {damage.Detail}"));
            await LayerReplay.RunAsync(
                backup, target, workers, check.Add, ProgressShare.Of(progress, done, total), cancellationToken).ConfigureAwait(false);
            check.Complete();
            target.End(backup.Manifest);
            done += backup.Manifest.SizeBytes;
        }
    }
}
