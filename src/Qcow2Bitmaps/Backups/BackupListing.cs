using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Backups;

/// <summary>Lists the backups in a folder.</summary>
internal static class BackupListing
{
    public static async Task<IReadOnlyList<StoredBackup>> ReadAsync(string folder, CancellationToken cancellationToken)
    {
        var broken = new List<StoredBackup>();
        IReadOnlyList<StoredBackup> all = await BackupStore.ScanAsync(
            folder, (path, e) => broken.Add(new StoredBackup(path, null, e.Message)), cancellationToken).ConfigureAwait(false);
        return [
            .. all.OrderBy(static backup => backup.Manifest.Created).Select(
                backup => new StoredBackup(backup.ManifestPath, backup.Manifest, FaultOf(backup, all))),
            .. broken,
        ];
    }

    private static string? FaultOf(StoredBackup backup, IReadOnlyList<StoredBackup> all)
    {
        if (backup.ManifestPath.EndsWith(BackupPaths.PartialSuffix, StringComparison.Ordinal))
        {
            return backup.Manifest.State == BackupState.Partial
                ? "it is incomplete: the same backup with mode 'always' resumes it"
                : "it was complete when it was interrupted: run the same backup again to give it its name";
        }

        if (!Storage.DurableFile.Exists(backup.ImagePath))
        {
            return PrintableMessage.Of($"its image '{backup.Manifest.ImageFile}' is missing");
        }

        BackupParent? missing = backup.Manifest.Parents.FirstOrDefault(
            parent => !all.Any(other =>
                string.Equals(other.Manifest.Id, parent.Id, StringComparison.Ordinal)
                    && string.Equals(Path.GetFileName(other.ManifestPath), parent.Manifest, StringComparison.Ordinal)));
        return missing is not null ? PrintableMessage.Of($"it is based on '{missing.Manifest}' (backup {missing.Id}), which is missing")
            : backup.Manifest.State == BackupState.Anchoring
                ? "it can be restored, but whether its checkpoint records is not known: verify it with the disk"
            : null;
    }
}
