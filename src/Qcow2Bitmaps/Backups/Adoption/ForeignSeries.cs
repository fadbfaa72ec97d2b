namespace Qcow2Bitmaps.Backups.Adoption;

/// <summary>The images to adopt, the oldest first, open until everything is done, so that no process writes them meanwhile.</summary>
internal sealed class ForeignSeries : IAsyncDisposable
{
    private readonly List<ForeignImage> _images = [];

    private ForeignSeries(string folder) => Folder = folder;

    public IReadOnlyList<ForeignImage> Images => _images;

    /// <summary>The folder that contains all of them.</summary>
    public string Folder { get; }

    /// <summary>Opens them.</summary>
    /// <param name="paths">The images, the oldest first.</param>
    /// <param name="firstFormat">The format of the first one; probed when null.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="BackupException">They are not a series.</exception>
    /// <exception cref="Qcow2Exception">An image is broken, or another process is writing it.</exception>
    /// <exception cref="IOException">An image cannot be opened.</exception>
    public static async ValueTask<ForeignSeries> OpenAsync(
        IReadOnlyList<string> paths, string? firstFormat, CancellationToken cancellationToken)
    {
        if (paths.Count > ManifestJson.MaxParents + 1)
        {
            throw new BackupException(
                $"The series has {paths.Count} images, at most {ManifestJson.MaxParents + 1} are read: write the first ones over one "
                + $"another, or start with a full backup");
        }

        var series = new ForeignSeries(BackupPaths.FolderOf(paths[0]));
        try
        {
            foreach (string path in paths)
            {
                await series.AddAsync(
                    path, series._images.Count == 0 ? firstFormat : ImageFormat.Qcow2, cancellationToken).ConfigureAwait(false);
            }

            return series;
        }
        catch
        {
            await series.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Throws if an image uses a file of the disk itself.</summary>
    /// <exception cref="BackupException">One does.</exception>
    public async ValueTask RequireApartFromAsync(ImageChain disk, CancellationToken cancellationToken)
    {
        foreach (ForeignImage image in _images)
        {
            if (await image.FindSharedAsync(disk, cancellationToken).ConfigureAwait(false) is { } shared)
            {
                throw new BackupException($"{image} is no backup: its data are those of the disk, in '{shared}'");
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (ForeignImage image in _images)
        {
            await image.DisposeAsync().ConfigureAwait(false);
        }
    }

    private async ValueTask AddAsync(string path, string? format, CancellationToken cancellationToken)
    {
        if (!string.Equals(BackupPaths.FolderOf(path), Folder, StringComparison.Ordinal))
        {
            throw new BackupException($"'{path}' is not in '{Folder}': a backup and those that it is based on must be in one folder");
        }

        ForeignImage image = await ForeignImage.OpenAsync(path, format, cancellationToken).ConfigureAwait(false);
        _images.Add(image);
        if (_images.SkipLast(1).FirstOrDefault(other => image.Layer.Storage.Key is { } own && other.Layer.Storage.Key == own)
            is { } same)
        {
            throw new BackupException($"{image} and {same} are one file");
        }
    }
}
