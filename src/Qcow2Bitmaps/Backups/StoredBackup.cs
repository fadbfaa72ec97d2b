using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>A backup where it is stored.</summary>
/// <param name="ManifestPath">The path of its manifest.</param>
/// <param name="Manifest">The manifest.</param>
public sealed record StoredBackup(string ManifestPath, BackupManifest Manifest)
{
    /// <summary>The path of its image.</summary>
    public string ImagePath => Path.Combine(BackupPaths.FolderOf(ManifestPath), Manifest.ImageFile);

    /// <summary>The backup with its image as that is named until it is whole.</summary>
    internal StoredBackup Unplaced => this with { Manifest = Manifest with { ImageFile = BackupPaths.PartialOf(Manifest.ImageFile) } };

    /// <summary>Opens its image alone: what it itself holds.</summary>
    /// <exception cref="BackupException">The image is missing, or not what the manifest says.</exception>
    /// <exception cref="Qcow2Exception">The image is broken, or leads out of the folder.</exception>
    /// <exception cref="IOException">It cannot be opened.</exception>
    internal async ValueTask<ImageChain> OpenAloneAsync(CancellationToken cancellationToken)
    {
        ImageChain chain = await OpenImageAsync(
            ManifestPath, Manifest.ImageFile, Manifest.ImageFormat, cancellationToken).ConfigureAwait(false);
        try
        {
            string? fault = chain.Layers[0].VirtualSizeBytes != Manifest.SizeBytes
                ? $"its disk has {chain.Layers[0].VirtualSizeBytes} bytes, not {Manifest.SizeBytes}"
                : Manifest.IsFull && (chain.Layers[0] as Qcow2Layer)?.Image.BackingFile is not null
                    ? "it has a backing file, but is a full backup"
                : null;
            return fault is null ? chain : throw new BackupException($"'{ImagePath}' is not the image of '{ManifestPath}': {fault}");
        }
        catch
        {
            await chain.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Opens an image alone.</summary>
    /// <param name="manifestPath">The path of its manifest, which need not be there.</param>
    /// <param name="file">Its file name, in the same folder.</param>
    /// <param name="format">Its format; probed when null.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <inheritdoc cref="OpenAloneAsync" path="/exception"/>
    internal static async ValueTask<ImageChain> OpenImageAsync(
        string manifestPath, string file, string? format, CancellationToken cancellationToken)
    {
        var options = new ChainOpenOptions { TopFormat = format, FollowBacking = false };
        string folder = BackupPaths.FolderOf(manifestPath);
        if (!LinuxNative.IsSupported)
        {
            return await ImageChain.OpenAsync(Path.Combine(folder, file), options, cancellationToken).ConfigureAwait(false);
        }

        try
        {
            // A link in the folder may lead anywhere: this opens nothing outside it.
            ImageStorage storage = await new FileBackingResolver([folder])
                .OpenAsync(
                    new BackingReference(manifestPath, "./" + file, format, 0), ImageLock.Read, cancellationToken).ConfigureAwait(false);
            return await ImageChain.OpenAsync(storage, options, cancellationToken).ConfigureAwait(false);
        }
        catch (FileNotFoundException e)
        {
            throw new BackupException($"The image of '{manifestPath}' is missing: '{Path.Combine(folder, file)}'", e);
        }
    }
}
