using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>
/// What is left of a backup that was interrupted: a complete one gets its name back; with <see cref="BitmapSyncMode.Always"/> a part of one
/// is resumed.
/// </summary>
internal static class UnfinishedBackup
{
    /// <summary>
    /// Gives backups that were interrupted between two names, and are complete, their names back. They are kept: if one was resumed, no
    /// bitmap marks any more what it has.
    /// </summary>
    /// <exception cref="IOException">There were such backups; they now have their final names.</exception>
    public static async ValueTask FinishAsync(IReadOnlyList<BackupDisk> disks, CancellationToken cancellationToken)
    {
        var finished = new List<string>();
        foreach (BackupDisk disk in disks)
        {
            string manifest = BackupPaths.ManifestOf(disk.TargetPath);
            string partialManifest = BackupPaths.PartialOf(manifest);
            if (!DurableFile.Exists(partialManifest) || DurableFile.Exists(manifest)
                || (await BackupStore.ReadAsync(
                    partialManifest, withGroups: false, cancellationToken).ConfigureAwait(false)).State == BackupState.Partial)
            {
                continue;
            }

            string partial = BackupPaths.PartialOf(disk.TargetPath);
            if (DurableFile.Exists(partial))
            {
                DurableFile.Rename(partial, disk.TargetPath);
            }

            DurableFile.Rename(partialManifest, manifest);
            finished.Add($"'{manifest}'");
        }

        if (finished.Count > 0)
        {
            throw IOException.Of(finished.Count == 1
                ? $"{finished[0]} exists now: the backup was stopped when it was whole, and has its name back"
                : $"{string.Join(", ", finished)} exist now: the backups were interrupted when they were complete, "
                    + $"and have their names again");
        }
    }

    /// <summary>Checks which files exist under the names of the new backup.</summary>
    /// <returns>An incomplete backup that is to be resumed; null for none.</returns>
    public static async ValueTask<StoredBackup?> FindAsync(BackupDisk disk, BackupOptions options, CancellationToken cancellationToken)
    {
        string manifest = BackupPaths.ManifestOf(disk.TargetPath);
        string partialManifest = BackupPaths.PartialOf(manifest);
        if (string.Equals(manifest, disk.TargetPath, StringComparison.Ordinal)
            || disk.TargetPath.EndsWith(BackupPaths.PartialSuffix, StringComparison.Ordinal))
        {
            throw IOException.Of($"'{disk.TargetPath}' is a name that a backup gives to other files");
        }

        if (DurableFile.Exists(manifest))
        {
            throw IOException.Of($"'{manifest}' exists: there is already a backup");
        }

        if (DurableFile.Exists(partialManifest))
        {
            var unfinished = new StoredBackup(
                partialManifest, await BackupStore.ReadAsync(partialManifest, withGroups: false, cancellationToken).ConfigureAwait(false));
            return options.Mode == BitmapSyncMode.Always
                && string.Equals(options.Since, unfinished.Manifest.Bitmap, StringComparison.Ordinal)
                ? unfinished
                : throw new BackupException(
                    $"'{partialManifest}' is an unfinished backup; what it has copied is no longer marked in bitmap "
                    + $"'{unfinished.Manifest.Bitmap ?? ""}': "
                    + "take it again with the same bitmap and mode 'always', or remove it and take a full backup");
        }

        return DurableFile.Exists(disk.TargetPath)
            ? throw IOException.Of($"'{disk.TargetPath}' exists: a backup is a new file")
            : null;
    }

    /// <summary>Keeps the copied data as an unfinished backup, and clears them in the bitmap.</summary>
    /// <param name="disk">The disk and the target.</param>
    /// <param name="manifest">The manifest that the complete backup would have had.</param>
    /// <param name="former">The disk's earlier backups: from now on the bitmap serves only to resume this one.</param>
    /// <param name="chain">The disk's chain; the images that hold the bitmap are writable.</param>
    /// <param name="copied">The ranges that were written to the target.</param>
    public static async ValueTask KeepAsync(
        BackupDisk disk, BackupManifest manifest, FormerBackups former, ImageChain chain, DirtyBitmap copied)
    {
        string manifestPath = BackupPaths.ManifestOf(disk.TargetPath);
        string partial = BackupPaths.PartialOf(disk.TargetPath);
        string since = manifest.Bitmap!;
        DurableFile.Flush(partial);
        manifest = manifest with { State = BackupState.Partial };
        // Only what the file really contains, read again: the failure may have prevented its tables from being written.
        var kept = new DirtyBitmap(manifest.SizeBytes, GroupDigests.BlockBytes);
        ImageChain image = await new StoredBackup(manifestPath, manifest).Unplaced.OpenAloneAsync(
            CancellationToken.None).ConfigureAwait(false);
        await using (image.ConfigureAwait(false))
        {
            await foreach (DirtyExtent extent in BackupRanges.OwnAsync(image).ConfigureAwait(false))
            {
                kept.Set(extent.OffsetBytes, extent.LengthBytes);
            }
        }

        kept.Intersect(copied);
        var left = new DirtyBitmap(manifest.SizeBytes, GroupDigests.BlockBytes);
        await foreach (DirtyExtent extent in chain.ReadExtentsAsync(since).ConfigureAwait(false))
        {
            left.Set(extent.OffsetBytes, extent.LengthBytes);
        }

        left.Subtract(kept);
        DurableFile.Replace(BackupPaths.PartialOf(manifestPath), ManifestJson.Write(manifest), chain.Rights);
        await former.WithdrawAsync(since, manifest.Id, CancellationToken.None).ConfigureAwait(false);
        var edits = new BitmapEditSet();
        foreach (int index in ChainBitmaps.Holders(chain, [since]))
        {
            edits.Add(chain.Layers[index].RequireImage(), edit => edit.Clear(since).Merge(left, since));
        }

        await edits.CommitAsync(cancellationToken: CancellationToken.None).ConfigureAwait(false);
    }
}
