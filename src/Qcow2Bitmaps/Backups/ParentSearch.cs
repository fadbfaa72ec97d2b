namespace Qcow2Bitmaps.Backups;

// Decisions: docs/decisions/backups.md.
/// <summary>Finds the backup that an incremental one can be based on, and refuses unsuitable ones.</summary>
/// <remarks>
/// A bitmap shows what changed since a point only as long as it was not cleared or recreated under its name since. So of a disk's backups
/// in a folder, only the newest one at whose point the bitmap began to record is suitable, or one taken later. A backup that was
/// interrupted before its anchors were known to record counts as newer.
/// </remarks>
/// <param name="bitmap">The bitmap.</param>
/// <param name="identity">The identity of the disk.</param>
/// <param name="folder">The target's folder.</param>
internal sealed class ParentSearch(string bitmap, DiskIdentity identity, string folder)
{
    /// <summary>
    /// The offset, in bytes, up to which the disk is known to have existed all the time since the found backup: it may have shrunk and
    /// grown again, which no bitmap shows.
    /// </summary>
    public long KeptBytes { get; private set; }

    /// <summary>Finds the backup.</summary>
    /// <param name="previousPath">The one that the caller wants; null for any.</param>
    /// <param name="resuming">The manifest of the incomplete backup that is resumed; null for none.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The backup and those that it is based on.</returns>
    /// <exception cref="BackupException">There is none, or it is unsuitable.</exception>
    public async ValueTask<IReadOnlyList<StoredBackup>> FindAsync(
        string? previousPath, StoredBackup? resuming, CancellationToken cancellationToken)
    {
        IReadOnlyList<StoredBackup> all = await BackupStore.ScanAsync(folder, onFault: null, cancellationToken).ConfigureAwait(false);
        // Only the unfinished one records which of the marked data it has.
        previousPath ??= resuming?.Manifest.Parents is [{ } first, ..] ? Path.Combine(folder, first.Manifest) : null;
        StoredBackup parent = previousPath is null ? Choose(all) : await ReadAsync(previousPath, cancellationToken).ConfigureAwait(false);
        IReadOnlyList<StoredBackup> chain = await BackupStore.ReadChainAsync(parent.ManifestPath, cancellationToken).ConfigureAwait(false);
        KeptBytes = parent.Manifest.SizeBytes;
        foreach (StoredBackup other in all)
        {
            if (IsSameDisk(other, parent) && IsNewer(other, parent))
            {
                KeptBytes = Math.Min(KeptBytes, other.Manifest.SizeBytes);
            }

            if (MayAnchor(other)
                && IsSameDisk(other, parent)
                && IsNewer(other, parent)
                && !string.Equals(other.Manifest.Id, resuming?.Manifest.Id, StringComparison.Ordinal))
            {
                throw new BackupException(
                    $"'{parent.ManifestPath}' cannot be built on by bitmap '{bitmap}': '{other.ManifestPath}' was taken later, "
                    + $"and the bitmap "
                    + (other.Manifest.State == BackupState.Complete
                        ? "records since then"
                        : "may record only since then, as it was stopped before that was known"));
            }
        }

        // The bitmap marks whatever the resumed backup has not copied yet, as long as no other has taken it over.
        bool isMarked = resuming is null ? chain.Any(IsAnchor) : resuming.Manifest.Anchors.Contains(bitmap, StringComparer.Ordinal);
        return isMarked ? chain
            : throw new BackupException(parent.Manifest.State == BackupState.Anchoring && MayAnchor(parent)
                ? NotConfirmed(parent)
                : $"'{parent.ManifestPath}' cannot be built on by bitmap '{bitmap}', which does not record since its point, "
                    + $"nor since that of one that it is based on: take a full backup");
    }

    private StoredBackup Choose(IReadOnlyList<StoredBackup> all)
    {
        List<StoredBackup> known = [.. all.Where(backup => MayAnchor(backup) && backup.Manifest.State != BackupState.Partial)];
        List<StoredBackup> own = [.. known.Where(backup => identity.IsOf(backup.Manifest))];
        // After a commit, the previous top image is gone; but backups of the same series are of the same disk.
        own = own.Count > 0
            ? [
                .. known.Where(
                    backup => own.Exists(found => string.Equals(found.Manifest.Series, backup.Manifest.Series, StringComparison.Ordinal)))]
            : [.. known.Where(backup => backup.Manifest.Source.Intersect(identity.Paths, StringComparer.Ordinal).Any())];
        if (own.Count == 0)
        {
            throw all.FirstOrDefault(backup =>
                backup.Manifest.State == BackupState.Partial && MayAnchor(backup) && identity.IsOf(backup.Manifest)) is { } unfinished
                ? new BackupException(
                    $"'{unfinished.ManifestPath}' is an unfinished backup, and bitmap '{bitmap}' does not mark any more what it has "
                    + $"copied: take it again with mode 'always', or take a full backup")
                : new BackupException(
                    $"'{folder}' has no backup of this disk since whose point bitmap '{bitmap}' records (the last one was deleted, "
                    + $"or lies elsewhere, or another program made it): name the one to build on, or take a full backup")
                {
                    Remedy = Remedy.AdoptBackup,
                };
        }

        // Disks based on one template share it, and may have checkpoints of the same name.
        if (own.Select(static backup => backup.Manifest.Series).Distinct(StringComparer.Ordinal).Count() > 1
            && !own.Exists(backup => identity.IsOf(backup.Manifest)))
        {
            throw new BackupException($"'{folder}' has backups of several disks that could be this one: name the one to build on");
        }

        StoredBackup newest = own.MaxBy(static backup => backup.Manifest.Created)!;
        return newest.Manifest.State == BackupState.Anchoring ? throw new BackupException(NotConfirmed(newest)) : newest;
    }

    private async ValueTask<StoredBackup> ReadAsync(string path, CancellationToken cancellationToken)
    {
        path = BackupPaths.ManifestOf(path);
        return string.Equals(BackupPaths.FolderOf(path), folder, StringComparison.Ordinal)
            ? new StoredBackup(path, await BackupStore.ReadNamedAsync(path, withGroups: false, cancellationToken).ConfigureAwait(false))
            : throw new BackupException($"'{path}' is not in '{folder}': a backup and those that it is based on must be in one folder");
    }

    private bool IsAnchor(StoredBackup backup) =>
        backup.Manifest.State == BackupState.Complete && backup.Manifest.Anchors.Contains(bitmap, StringComparer.Ordinal);

    /// <summary>
    /// Whether the bitmap may have begun to record at its point, or have lost what the backup had copied before it failed.
    /// </summary>
    private bool MayAnchor(StoredBackup backup) => backup.Manifest.Anchors.Contains(bitmap, StringComparer.Ordinal);

    private bool IsSameDisk(StoredBackup other, StoredBackup parent) =>
        string.Equals(other.Manifest.Series, parent.Manifest.Series, StringComparison.Ordinal)
        || identity.IsOf(other.Manifest);

    private static bool IsNewer(StoredBackup other, StoredBackup parent) => other.Manifest.Created > parent.Manifest.Created;

    private string NotConfirmed(StoredBackup backup) =>
        $"'{backup.ManifestPath}' is complete, but was interrupted before it was known that bitmap '{bitmap}' records from its point on: "
        + $"verify it with the disk first";
}
