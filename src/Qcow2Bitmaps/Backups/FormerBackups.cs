using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>
/// The existing backups of a disk in a folder. A new one is dated later than all of them and takes over the bitmap that it anchors: even if
/// the new one is deleted, no backup can be based on the earlier ones by that bitmap.
/// </summary>
internal sealed class FormerBackups
{
    private readonly IReadOnlyList<StoredBackup> _backups;

    private FormerBackups(IReadOnlyList<StoredBackup> backups) => _backups = backups;

    /// <summary>Finds them. Files that are not manifests are ignored.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="identity">The identity of the disk.</param>
    /// <param name="below">The backups that the new one is based on.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="BackupException">There are too many.</exception>
    /// <exception cref="IOException">The folder or a manifest cannot be read; a manifest that is readable later would still
    /// claim the bitmap.</exception>
    public static async ValueTask<FormerBackups> FindAsync(
        string folder, DiskIdentity identity, IReadOnlyList<StoredBackup> below, CancellationToken cancellationToken)
    {
        IReadOnlyList<StoredBackup> all = await BackupStore.ScanAsync(folder, SkipWhatIsNone, cancellationToken).ConfigureAwait(false);
        return new FormerBackups(
            [
                .. all.Where(other =>
                    identity.IsOf(other.Manifest)
                        || below.Any(one => string.Equals(one.Manifest.Series, other.Manifest.Series, StringComparison.Ordinal)))]);
    }

    /// <summary>The time of a new backup, adjusted so that a clock that was set back does not reverse the order.</summary>
    /// <exception cref="BackupException">There is no later time.</exception>
    public DateTimeOffset Next()
    {
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        StoredBackup? latest = _backups.MaxBy(static backup => backup.Manifest.Created);
        return latest is null ? now : Later(now, latest);
    }

    /// <summary>Returns the time, or, if it is not later than a backup, the first later one.</summary>
    /// <exception cref="BackupException">There is no later time.</exception>
    public static DateTimeOffset Later(DateTimeOffset time, StoredBackup than) =>
        time > than.Manifest.Created ? time
        : than.Manifest.Created < DateTimeOffset.MaxValue ? than.Manifest.Created.AddTicks(1)
        : throw new BackupException($"'{than.ManifestPath}' says that it was taken at the end of time, and the new backup is later");

    /// <summary>Finds a backup, other than the given ones, that was taken later than a time and is anchored by a bitmap.</summary>
    public StoredBackup? FindAnchored(string bitmap, IEnumerable<StoredBackup> besides, DateTimeOffset laterThan)
    {
        var ids = besides.Select(static backup => backup.Manifest.Id).ToHashSet(StringComparer.Ordinal);
        return _backups.FirstOrDefault(backup =>
            backup.Manifest.Created > laterThan
                && backup.Manifest.Anchors.Contains(bitmap, StringComparer.Ordinal)
                && !ids.Contains(backup.Manifest.Id));
    }

    /// <summary>Records in their manifests that a bitmap no longer records since their points, or never did.</summary>
    /// <param name="bitmap">The bitmap.</param>
    /// <param name="id">The new backup, which may be a resumed one.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <exception cref="BackupException">A manifest is no longer valid.</exception>
    /// <exception cref="IOException">A manifest cannot be read or written.</exception>
    public async ValueTask WithdrawAsync(string bitmap, string id, CancellationToken cancellationToken)
    {
        foreach (StoredBackup backup
            in _backups.Where(backup =>
                backup.Manifest.Anchors.Contains(bitmap, StringComparer.Ordinal)
                    && !string.Equals(backup.Manifest.Id, id, StringComparison.Ordinal)))
        {
            if (!DurableFile.Exists(backup.ManifestPath))
            {
                // It was deleted during the copying.
                continue;
            }

            BackupManifest manifest = await BackupStore.ReadAsync(
                backup.ManifestPath, withGroups: true, cancellationToken).ConfigureAwait(false);
            IReadOnlyList<string> anchors = [.. manifest.Anchors.Where(anchor => !string.Equals(anchor, bitmap, StringComparison.Ordinal))];
            manifest = anchors.Count == 0 && manifest.State == BackupState.Anchoring
                // It was stopped before its checkpoint started.
                ? manifest with { State = BackupState.Complete, Checkpoint = null }
                : manifest;
            DurableFile.Replace(backup.ManifestPath, ManifestJson.Write(manifest with { Anchors = anchors }), FileRights.Plain);
        }
    }

    private static void SkipWhatIsNone(string path, Exception fault)
    {
        if (fault is not BackupException)
        {
            throw IOException.Of($"{fault}", fault);
        }
    }
}
