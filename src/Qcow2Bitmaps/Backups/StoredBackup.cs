using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>A stored backup.</summary>
public sealed class StoredBackup
{
    private readonly BackupManifest? _manifest;

    internal StoredBackup(string manifestPath, BackupManifest? manifest, string? fault = null)
    {
        ManifestPath = manifestPath;
        _manifest = manifest;
        Fault = fault;
    }

    /// <summary>The path of its manifest; of an incomplete backup it ends with <c>.partial</c>.</summary>
    public string ManifestPath { get; }

    /// <summary>Whether the manifest can be read.</summary>
    public bool IsReadable => _manifest is not null;

    /// <summary>The manifest.</summary>
    /// <exception cref="InvalidOperationException">It cannot be read: see <see cref="Fault"/>.</exception>
    public BackupManifest Manifest => _manifest ?? throw new InvalidOperationException(Fault);

    /// <summary>The path of its image.</summary>
    /// <exception cref="InvalidOperationException">The manifest cannot be read.</exception>
    public string ImagePath
    {
        get => field ?? Path.Combine(BackupPaths.FolderOf(ManifestPath), Manifest.ImageFile);
        internal init;
    }

    /// <summary>
    /// In a list: why it cannot be restored, or no backup can be based on it, as far as its manifest tells; null if nothing is known
    /// against it.
    /// </summary>
    public string? Fault { get; }

    /// <summary>Of a backup that was just taken: what became of bitmaps of the disk. Else empty.</summary>
    public IReadOnlyList<BitmapChange> BitmapChanges { get; internal init; } = [];

    /// <summary>The backup with its image as that is named until it is complete.</summary>
    internal StoredBackup Unplaced => With(Manifest with { ImageFile = BackupPaths.PartialOf(Manifest.ImageFile) });

    internal StoredBackup With(BackupManifest manifest) => new(ManifestPath, manifest);

    /// <summary>Opens its image alone, without a backing file.</summary>
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
