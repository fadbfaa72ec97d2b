using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>Reads manifests from a folder. They are untrusted: no name may lead out of the folder, and every count is bounded.</summary>
internal static class BackupStore
{
    private const int MaxManifests = 10_000;

    /// <summary>Reads a manifest.</summary>
    /// <param name="path">Its path.</param>
    /// <param name="withGroups">Whether its checksums are read.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="BackupException">It is not a manifest.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static async ValueTask<BackupManifest> ReadAsync(string path, bool withGroups, CancellationToken cancellationToken)
    {
        // It may be a FIFO or a device, so it is opened as safely as an image.
        var file = FileStorage.Open(path, FileAccess.Read, ImageLock.None);
        await using (file.ConfigureAwait(false))
        {
            if (file.Length > ManifestJson.MaxBytes)
            {
                throw new BackupException(
                    $"'{path}' is no manifest of a backup: it has {file.Length} bytes, at most {ManifestJson.MaxBytes} are read");
            }

            var text = new byte[file.Length];
            int read = await file.ReadAsync(0, text, cancellationToken).ConfigureAwait(false);
            return ManifestJson.Read(path, text.AsMemory(0, read), withGroups);
        }
    }

    /// <summary>Reads the manifest of a backup, given its path or that of its image.</summary>
    /// <exception cref="BackupException">There is none beside the image, or it is not a manifest.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static async ValueTask<BackupManifest> ReadNamedAsync(string path, bool withGroups, CancellationToken cancellationToken)
    {
        string manifest = BackupPaths.ManifestOf(path);
        try
        {
            return await ReadAsync(manifest, withGroups, cancellationToken).ConfigureAwait(false);
        }
        catch (FileNotFoundException e) when (BackupPaths.ImageOf(manifest) is { } image && DurableFile.Exists(image))
        {
            throw new BackupException(
                $"'{image}' has no manifest: it is unknown what it is based on, and which bitmap records since", e)
            {
                Remedy = Remedy.AdoptBackup,
            };
        }
    }

    /// <summary>Reads a backup and all backups that it is based on.</summary>
    /// <param name="path">The manifest, or its image.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The backup, then those that it is based on, down to a full backup.</returns>
    /// <exception cref="BackupException">One is not a manifest, is incomplete, or is not the expected one.</exception>
    /// <exception cref="IOException">One cannot be read.</exception>
    public static async ValueTask<IReadOnlyList<StoredBackup>> ReadChainAsync(string path, CancellationToken cancellationToken)
    {
        BackupManifest leaf = await ReadNamedAsync(path, withGroups: true, cancellationToken).ConfigureAwait(false);
        path = BackupPaths.ManifestOf(path);
        RequireWhole(path, leaf);
        var chain = new List<StoredBackup> { new(path, leaf) };
        for (int i = 0; i < leaf.Parents.Count; i++)
        {
            BackupParent named = leaf.Parents[i];
            if (chain.Exists(above => string.Equals(above.Manifest.Id, named.Id, StringComparison.Ordinal)))
            {
                throw new BackupException($"'{path}' names backup {named.Id} twice: its parents contain a loop");
            }

            string parentPath = Path.Combine(BackupPaths.FolderOf(path), named.Manifest);
            BackupManifest parent = await ReadParentAsync(path, parentPath, cancellationToken).ConfigureAwait(false);
            RequireWhole(parentPath, parent);
            if (!string.Equals(parent.Id, named.Id, StringComparison.Ordinal))
            {
                throw new BackupException($"'{parentPath}' is backup {parent.Id}, but '{path}' is based on {named.Id}");
            }

            if (!parent.Parents.SequenceEqual(leaf.Parents.Skip(i + 1)))
            {
                throw new BackupException($"'{path}' and '{parentPath}' do not agree on what they are based on");
            }

            chain.Add(new StoredBackup(parentPath, parent));
        }

        return chain;
    }

    /// <summary>Reads all manifests in a folder without their checksums, including unfinished ones.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="onFault">Receives manifests that cannot be read; if null, that is an error.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="BackupException">There are too many.</exception>
    /// <exception cref="IOException">The folder cannot be read.</exception>
    public static async ValueTask<IReadOnlyList<StoredBackup>> ScanAsync(
        string folder, Action<string, Exception>? onFault, CancellationToken cancellationToken)
    {
        var found = new List<StoredBackup>();
        int count = 0;
        foreach (string path in FileNames.FilesIn(folder).Order(StringComparer.Ordinal))
        {
            if (!path.EndsWith(BackupPaths.ManifestSuffix, StringComparison.Ordinal)
                && !path.EndsWith(BackupPaths.PartialOf(BackupPaths.ManifestSuffix), StringComparison.Ordinal))
            {
                continue;
            }

            if (++count > MaxManifests)
            {
                throw new BackupException($"'{folder}' has more than {MaxManifests} manifests");
            }

            try
            {
                found.Add(await ReadHeadAsync(path, cancellationToken).ConfigureAwait(false));
            }
            catch (FileNotFoundException)
            {
                // It was deleted after the folder was read.
            }
            catch (Exception e) when (onFault is not null && e is IOException or UnauthorizedAccessException)
            {
                onFault(path, e);
            }
        }

        return found;
    }

    /// <summary>Reads one manifest. An unfinished one may be renamed meanwhile, as other disks are backed up into the folder.</summary>
    private static async ValueTask<StoredBackup> ReadHeadAsync(string path, CancellationToken cancellationToken)
    {
        try
        {
            return new StoredBackup(path, await ReadAsync(path, withGroups: false, cancellationToken).ConfigureAwait(false));
        }
        catch (FileNotFoundException) when (path.EndsWith(BackupPaths.PartialSuffix, StringComparison.Ordinal))
        {
            path = path[..^BackupPaths.PartialSuffix.Length];
            return new StoredBackup(path, await ReadAsync(path, withGroups: false, cancellationToken).ConfigureAwait(false));
        }
    }

    private static async ValueTask<BackupManifest> ReadParentAsync(string path, string parentPath, CancellationToken cancellationToken)
    {
        try
        {
            return await ReadAsync(parentPath, withGroups: true, cancellationToken).ConfigureAwait(false);
        }
        catch (FileNotFoundException e)
        {
            throw new BackupException($"'{path}' is based on '{parentPath}', which is missing", e);
        }
    }

    private static void RequireWhole(string path, BackupManifest manifest)
    {
        if (manifest.State == BackupState.Partial || path.EndsWith(BackupPaths.PartialSuffix, StringComparison.Ordinal))
        {
            throw new BackupException($"'{path}' is an incomplete backup");
        }
    }
}
