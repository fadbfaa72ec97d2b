using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>
/// Makes a disk from backups: the full backup first, then one after the other what was copied since, each compared with its checksums while
/// it is written.
/// </summary>
internal static class BackupRestore
{
    public static async Task<StoredBackup> RunAsync(
        string path, string targetPath, bool isRaw, string? checkpoint, IProgress<OperationProgress>? progress,
        CancellationToken cancellationToken)
    {
        IReadOnlyList<StoredBackup> chain = await BackupStore.ReadChainAsync(path, cancellationToken).ConfigureAwait(false);
        chain = [.. chain.Skip(IndexOf(chain, checkpoint))];
        bool isDevice = FileStorage.IdentityOf(targetPath) is { } && FilePlace.Of(targetPath).IsBlockDevice;
        string written = isDevice ? targetPath : BackupPaths.PartialOf(targetPath);
        if (!isDevice && DurableFile.Exists(targetPath))
        {
            throw IOException.Of($"'{targetPath}' exists: a disk is restored to a new file, or to a block device");
        }

        string manifest = BackupPaths.ManifestOf(targetPath);
        if (!isDevice && (DurableFile.Exists(manifest) || DurableFile.Exists(BackupPaths.PartialOf(manifest))))
        {
            // The unfinished backup's data may exist nowhere else.
            throw IOException.Of($"'{targetPath}' is the name of a backup, whole or unfinished: a disk is restored to a name of its own");
        }

        var options = new ConversionOptions
        {
            IsQcow2 = !isRaw,
            Flush = false,
            SparseBytes = GroupDigests.BlockBytes,
            UsesReflinks = false,
        };
        long size = chain[0].Manifest.SizeBytes;
        FileRights rights = chain.Aggregate(FileRights.Plain, static (rights, backup) => rights.With(backup.ImagePath));
        CopyTarget target = await CopyTarget.CreateAsync(written, size, options, rights, cancellationToken).ConfigureAwait(false);
        await using (target.ConfigureAwait(false))
        {
            if (target.ZeroFromBytes > 0 && size > 0)
            {
                // A device, which may contain any data.
                await target.Disk.WriteZerosAsync(0, size, mayUnmap: true, cancellationToken).ConfigureAwait(false);
            }

            await WriteAsync(
                chain, new RestoredDisk(target.Disk, size), progress, cancellationToken).ConfigureAwait(false);
            await target.CompleteAsync([], cancellationToken).ConfigureAwait(false);
        }

        DurableFile.Flush(written);
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
        IReadOnlyList<StoredBackup> chain, RestoredDisk target, IProgress<OperationProgress>? progress,
        CancellationToken cancellationToken)
    {
        long total = DiskBytes.Total(chain.Select(static backup => backup.Manifest.SizeBytes));
        long done = 0;
        foreach (StoredBackup backup in chain.Reverse())
        {
            await target.BeginAsync(backup.Manifest, cancellationToken).ConfigureAwait(false);
            var check = new GroupCheck(backup, damage => throw new BackupException(
                $"'{backup.ImagePath}' is damaged from byte {damage.OffsetBytes} of the disk on: {damage.Detail}"));
            await LayerReplay.RunAsync(
                backup, target, ConversionOptions.DefaultWorkers, check.Add, new ProgressShare(progress, done, total),
                cancellationToken).ConfigureAwait(false);
            check.Complete();
            target.End(backup.Manifest);
            done = DiskBytes.Add(done, backup.Manifest.SizeBytes);
        }
    }
}
