using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups.Adoption;

/// <summary>An image of a series to adopt, open with the locks of a reader.</summary>
internal sealed class ForeignImage : IAsyncDisposable
{
    private const long NanosecondsPerTick = 100;
    private readonly ImageChain _chain;

    private ForeignImage(string path, ImageChain chain, BackupManifest? manifest)
    {
        Path = path;
        _chain = chain;
        Manifest = manifest;
        Layer = chain.Layers[0];
        LastWrite = TimeOf(Layer.Storage.LastWrite ?? 0);
    }

    /// <summary>The path, as the caller gave it.</summary>
    public string Path { get; }

    public string ManifestPath => BackupPaths.ManifestOf(Path);

    /// <summary>Its existing manifest; null for none.</summary>
    public BackupManifest? Manifest { get; }

    /// <summary>The image alone, without what it may name as its backing file.</summary>
    public ChainLayer Layer { get; }

    /// <summary>The name of its backing file; null without one.</summary>
    public string? BackingFile => (Layer as Qcow2Layer)?.Image.BackingFile;

    /// <summary>The identity of that file; null without one, and if the name does not lead to a local file.</summary>
    public StorageIdentity? BackingIdentity =>
        BackingFile is { } name && !BackingPath.HasProtocol(name) ? FileStorage.IdentityOf(BackingPath.Combine(Path, name)) : null;

    /// <summary>Whether it cannot store clusters of zeros: what became zeros is missing in it, and shows the data below.</summary>
    public bool HoldsNoZeros => (Layer as Qcow2Layer)?.Image.Header.Version < 3;

    /// <summary>When it was written last.</summary>
    public DateTimeOffset LastWrite { get; }

    /// <summary>The path, made safe to display.</summary>
    public override string ToString() => PrintableMessage.Of($"'{Path}'");

    /// <summary>Opens an image.</summary>
    /// <param name="path">Its path.</param>
    /// <param name="format">Its format; probed when null.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="BackupException">It cannot be a backup of a series.</exception>
    /// <exception cref="ImageLockedException">Another process is writing it.</exception>
    /// <exception cref="Qcow2Exception">It is broken.</exception>
    /// <exception cref="IOException">It cannot be opened.</exception>
    public static async ValueTask<ForeignImage> OpenAsync(string path, string? format, CancellationToken cancellationToken)
    {
        string manifestPath = BackupPaths.ManifestOf(path);
        string file = System.IO.Path.GetFileName(path);
        string? fault = string.Equals(manifestPath, path, StringComparison.Ordinal)
            || path.EndsWith(BackupPaths.PartialSuffix, StringComparison.Ordinal)
                ? $"'{path}' has a name that a backup gives to other files: name the image"
            : ImageText.HasInvalidBytes(file) || !BackupPaths.IsFileName(BackupPaths.PartialOf(BackupPaths.ManifestOf(file)))
                ? $"'{path}' cannot be stored in a manifest: its name is not UTF-8, or too long"
            : DurableFile.Exists(BackupPaths.PartialOf(manifestPath))
                ? $"'{path}' has the manifest of an incomplete backup: '{BackupPaths.PartialOf(manifestPath)}'"
            : LinuxNative.IsSupported && FilePlace.Of(path).IsBlockDevice
                ? $"'{path}' is a block device, which can have no manifest beside it: copy it to a file"
            : null;
        if (fault is not null)
        {
            throw new BackupException(fault);
        }

        BackupManifest? manifest = DurableFile.Exists(manifestPath)
            ? await BackupStore.ReadAsync(manifestPath, withGroups: true, cancellationToken).ConfigureAwait(false)
            : null;
        ImageChain chain = await StoredBackup.OpenImageAsync(
            manifestPath, file, manifest?.ImageFormat ?? format, cancellationToken).ConfigureAwait(false);
        try
        {
            // Missing data read as zeros, and parts that have changed since are not compared.
            await chain.RequireWholeAsync(withDataFiles: true, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await chain.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        return new ForeignImage(path, chain, manifest);
    }

    /// <summary>Finds a file that the disk and the image share, external data files included.</summary>
    /// <returns>Its name; null for none.</returns>
    public async ValueTask<string?> FindSharedAsync(ImageChain disk, CancellationToken cancellationToken)
    {
        await disk.OpenDataAsync(cancellationToken).ConfigureAwait(false);
        await _chain.OpenDataAsync(cancellationToken).ConfigureAwait(false);
        HashSet<StorageIdentity?> own = [.. _chain.Storages.Select(static storage => storage.Key)];
        return disk.Storages.FirstOrDefault(storage => storage.Key is { } identity && own.Contains(identity))?.Name;
    }

    /// <summary>Reads a part that the image itself contains.</summary>
    /// <returns>Whether it contains the whole part.</returns>
    public async ValueTask<bool> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        await foreach (DiskExtent extent in _chain.MapAsync(offset, buffer.Length, cancellationToken).ConfigureAwait(false))
        {
            if (extent.Kind == ExtentKind.Unallocated)
            {
                return false;
            }
        }

        return await _chain.ReadAsync(offset, buffer, cancellationToken).ConfigureAwait(false) == buffer.Length;
    }

    public ValueTask DisposeAsync() => _chain.DisposeAsync();

    /// <summary>The time of a file; clamped to the nearest representable one.</summary>
    private static DateTimeOffset TimeOf(Int128 nanoseconds) =>
        DateTimeOffset.UnixEpoch.AddTicks((long)Int128.Clamp(
            nanoseconds / NanosecondsPerTick, DateTimeOffset.MinValue.Ticks - DateTimeOffset.UnixEpoch.Ticks,
            DateTimeOffset.MaxValue.Ticks - DateTimeOffset.UnixEpoch.Ticks));
}
