using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups.Adoption;

// Decisions: docs/decisions/backups-adoption.md.
/// <summary>The adoption of one series: creates its manifests, from the first checks to the final files.</summary>
internal sealed class AdoptionRun(ForeignSeries series, ImageChain disk, AdoptionOptions options)
{
    // The oldest first.
    private readonly List<StoredBackup> _backups = [];
    private FormerBackups _former = null!;

    private IReadOnlyList<ForeignImage> Images => series.Images;

    private string Bitmap => options.Checkpoint;

    /// <summary>Prepares the manifests without checksums, and refuses those that could not be the base of another backup.</summary>
    public async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        var identity = DiskIdentity.Of(disk);
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        for (int i = 0; i < Images.Count; i++)
        {
            ForeignImage image = Images[i];
            if (image.Manifest is { } known)
            {
                RequireKnown(i, known);
                _backups.Add(new StoredBackup(image.ManifestPath, known));
                continue;
            }

            string id = Guid.NewGuid().ToString("N");
            // A file with a future time would be newer than the next backup.
            DateTimeOffset written = image.LastWrite < now ? image.LastWrite : now;
            bool isLast = i == Images.Count - 1;
            _backups.Add(new StoredBackup(image.ManifestPath, new BackupManifest
            {
                Id = id,
                Series = i == 0 ? id : _backups[0].Manifest.Series,
                Created = i == 0 ? written : FormerBackups.Later(written, _backups[^1]),
                Parents = ParentsOf(i),
                ImageFile = Path.GetFileName(image.Path),
                ImageFormat = image.Layer.Format,
                SizeBytes = image.Layer.VirtualSizeBytes,
                Source = identity.Paths,
                SourceFile = identity.TopFile,
                Missing = i > 0 ? _backups[^1].Manifest.Missing : null,
                Checkpoint = isLast ? Bitmap : null,
                Anchors = isLast ? [Bitmap] : [],
                Origin = options.IsTrusted ? BackupOrigin.AdoptedTrusted : BackupOrigin.AdoptedCompared,
                GroupBytes = BackupManifest.GroupBytesFor(image.Layer.VirtualSizeBytes),
            }));
        }

        _former = await FormerBackups.FindAsync(series.Folder, identity, _backups, cancellationToken).ConfigureAwait(false);
        RequireNoRival();
    }

    /// <summary>Reads all images to compute their checksums; then compares the disk with the series.</summary>
    /// <returns>How many bytes were compared; null where the caller vouches for the series.</returns>
    public async ValueTask<long?> ReadAsync(long diskBytes, IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        long total = DiskBytes.Total(
            [.. _backups.Select(static backup => backup.Manifest.SizeBytes), options.IsTrusted ? 0 : diskBytes]);
        long done = 0;
        for (int i = 0; i < _backups.Count; i++)
        {
            StoredBackup backup = _backups[i];
            IReadOnlyList<BackupGroup> groups = await LayerReplay.ReadGroupsAsync(
                backup, options.Workers, new ProgressShare(progress, done, total), cancellationToken).ConfigureAwait(false);
            done = DiskBytes.Add(done, backup.Manifest.SizeBytes);
            if (Images[i].Manifest is null)
            {
                _backups[i] = backup.With(backup.Manifest with { Groups = groups });
                continue;
            }

            var check = new GroupCheck(backup, damage => throw new BackupException(
                $"{Images[i]} is not what '{backup.ManifestPath}' says, from byte {damage.OffsetBytes} of the disk on: {damage.Detail}"));
            groups.ToList().ForEach(check.Add);
            check.Complete();
        }

        if (options.IsTrusted)
        {
            return null;
        }

        (long? difference, long compared) = await BackupVerification.CompareAsync(
            [.. _backups.AsEnumerable().Reverse()], disk, Bitmap, _backups[^1].Manifest.SizeBytes, new ProgressShare(progress, done, total),
            cancellationToken).ConfigureAwait(false);
        return difference is not { } at ? compared
            : throw new BackupException(
                await SeriesDifference.DescribeAsync(Images, disk, Bitmap, at, cancellationToken).ConfigureAwait(false));
    }

    /// <summary>Writes the manifests. From here on nothing is cancelled.</summary>
    /// <returns>The series.</returns>
    public async ValueTask<IReadOnlyList<StoredBackup>> WriteAsync()
    {
        for (int i = 0; i < _backups.Count; i++)
        {
            if (Images[i].Manifest is not null)
            {
                continue;
            }

            // Whoever copied the image here may not have flushed it, and the manifest states that it is on disk.
            DurableFile.Flush(Images[i].Path);
            if (i == _backups.Count - 1)
            {
                await _former.WithdrawAsync(Bitmap, _backups[i].Manifest.Id, CancellationToken.None).ConfigureAwait(false);
            }

            DurableFile.Write(_backups[i].ManifestPath, ManifestJson.Write(_backups[i].Manifest), disk.Rights.With(Images[i].Path));
        }

        return _backups;
    }

    private List<BackupParent> ParentsOf(int index) =>
        [.. _backups.Take(index)
            .Reverse()
            .Select(static below => new BackupParent(below.Manifest.Id, Path.GetFileName(below.ManifestPath)))];

    /// <summary>Refuses a manifest that contradicts the series.</summary>
    private void RequireKnown(int index, BackupManifest known)
    {
        ForeignImage image = Images[index];
        string manifest = $"'{image.ManifestPath}'";
        bool isLast = index == Images.Count - 1;
        string? fault = known.State != BackupState.Complete
                ? $"{manifest} is not of a complete backup (state '{ManifestJson.WordOf(known.State)}'): verify it with the disk first"
            : !string.Equals(known.ImageFile, Path.GetFileName(image.Path), StringComparison.Ordinal)
                ? $"{manifest} is the manifest of '{known.ImageFile}', not of {image}"
            : known.SizeBytes != image.Layer.VirtualSizeBytes
                ? $"{image} has a disk of {image.Layer.VirtualSizeBytes} bytes, but {manifest} says {known.SizeBytes}"
            : !known.Parents.SequenceEqual(ParentsOf(index))
                ? $"{image} has a manifest already, which says that it is based on {Show(known.Parents)}. Expected before it: "
                    + $"{(known.Parents.Count == 0 ? "nothing" : "these")}, oldest first"
            : isLast && !known.Anchors.Contains(Bitmap, StringComparer.Ordinal)
                ? $"{image} is a backup already, and {manifest} does not say that bitmap '{Bitmap}' records since its point"
            : null;
        if (fault is not null)
        {
            throw new BackupException(fault);
        }
    }

    /// <summary>Throws if another backup has the bitmap: then it was cleared or started at another point.</summary>
    private void RequireNoRival()
    {
        StoredBackup last = _backups[^1];
        if (_former.FindAnchored(Bitmap, _backups, options.IsTrusted ? DateTimeOffset.MinValue : last.Manifest.Created) is { } rival)
        {
            throw new BackupException(
                $"By '{rival.ManifestPath}' bitmap '{Bitmap}' records since {rival.Manifest.Created:yyyy-MM-dd HH:mm:ss}Z, "
                + $"not since {Images[^1]}, last written at {Images[^1].LastWrite:yyyy-MM-dd HH:mm:ss}Z"
                + (options.IsTrusted ? "" : ": build on that backup, or remove it if it is of no use"))
            {
                Remedy = options.IsTrusted ? Remedy.VerifyBackup : null,
            };
        }
    }

    private static string Show(IReadOnlyList<BackupParent> parents) =>
        parents.Count == 0 ? "nothing" : string.Join(", ", parents.Reverse().Select(static parent => $"'{parent.Manifest}'"));
}
