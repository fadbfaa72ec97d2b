using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>
/// The backups of a disk that a folder has already. A new one is later than all of them, and takes over the bitmap that it anchors: no
/// other may be built on by that, though the new one be deleted.
/// </summary>
internal sealed class FormerBackups
{
    private readonly IReadOnlyList<StoredBackup> _backups;

    private FormerBackups(IReadOnlyList<StoredBackup> backups) => _backups = backups;

    /// <summary>Finds them. What is no manifest is none.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="identity">Which disk it is.</param>
    /// <param name="below">What the new backup stands on.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="BackupException">There are too many.</exception>
    /// <exception cref="IOException">The folder, or a manifest, cannot be read: later it would still claim the bitmap.</exception>
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

    /// <summary>The time of a new one: a clock that was set back must not turn the order round.</summary>
    /// <exception cref="BackupException">There is no later time.</exception>
    public DateTimeOffset Next()
    {
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        StoredBackup? latest = _backups.MaxBy(static backup => backup.Manifest.Created);
        return latest is null ? now : Later(now, latest);
    }

    /// <summary>A time, or the first one that is later than a backup, where that time is not.</summary>
    /// <exception cref="BackupException">There is no later time.</exception>
    public static DateTimeOffset Later(DateTimeOffset time, StoredBackup than) =>
        time > than.Manifest.Created ? time
        : than.Manifest.Created < DateTimeOffset.MaxValue ? than.Manifest.Created.AddTicks(1)
        : throw new BackupException($"'{than.ManifestPath}' says that it was taken at the end of time, and the new backup is later");

    /// <summary>Finds one, besides some, that was taken later than a moment and has a bitmap as its anchor.</summary>
    public StoredBackup? FindAnchored(string bitmap, IEnumerable<StoredBackup> besides, DateTimeOffset laterThan)
    {
        var ids = besides.Select(static backup => backup.Manifest.Id).ToHashSet(StringComparer.Ordinal);
        return _backups.FirstOrDefault(backup =>
            backup.Manifest.Created > laterThan
                && backup.Manifest.Anchors.Contains(bitmap, StringComparer.Ordinal)
                && !ids.Contains(backup.Manifest.Id));
    }

    /// <summary>Notes in their manifests that a bitmap does not record since their points any more, or never did.</summary>
    /// <param name="bitmap">The bitmap.</param>
    /// <param name="id">The new backup, which may be a resumed one.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <exception cref="BackupException">A manifest is none any more.</exception>
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
                // Somebody deleted it while this one copied.
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

    private static void SkipWhatIsNone(string path, IOException fault)
    {
        if (fault is not BackupException)
        {
            throw IOException.Of($"{fault}", fault);
        }
    }
}
