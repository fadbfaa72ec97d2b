using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Chains;

/// <summary>Opens only backing files and data files that are regular files or block devices below allowed folders.</summary>
/// <remarks>
/// <para>Names are relative to the image that stores them. Protocols (such as <c>json:</c>, <c>nbd:</c>) are refused. Before a file is
/// opened, its real path, with all symbolic links resolved, is checked. A symbolic link directly in an allowed folder may lead to a
/// block device elsewhere: logical volumes are named like that, and whoever can write to the folder controls its links.</para>
/// <para>64-bit Linux only: other systems cannot check and open a path in one step, and need a custom resolver for backing files.
/// Immutable and thread-safe.</para>
/// </remarks>
internal sealed class FileBackingResolver : IBackingResolver
{
    private const string DeviceFolder = "/dev/";

    private readonly List<string> _roots = [];

    /// <summary>Creates a resolver that allows the given folders.</summary>
    /// <param name="allowedFolders">The folders; everything below them may be opened.</param>
    /// <exception cref="IOException">A folder does not exist, or is none.</exception>
    /// <exception cref="Qcow2UnsupportedException">The system is not 64-bit Linux.</exception>
    public FileBackingResolver(IEnumerable<string> allowedFolders)
    {
        ArgumentNullException.ThrowIfNull(allowedFolders);
        if (!LinuxNative.IsSupported)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.NoResolver,
                "Backing files are opened safely on 64-bit Linux only; elsewhere they need a resolver of the caller's own");
        }

        foreach (string folder in allowedFolders)
        {
            Allow(FilePlace.OfFolder(folder));
        }
    }

    /// <summary>
    /// The default policy: the folder that the top image's path names, the one that really holds it if it is a
    /// file, and the folders that the caller adds.
    /// </summary>
    /// <param name="topPath">The top image.</param>
    /// <param name="moreFolders">Further folders.</param>
    /// <returns>The resolver. <c>/</c>, <c>/dev</c>, <c>/dev/mapper</c> and <c>/dev/disk</c> are allowed only when the caller adds them,
    /// because they contain every file or every disk.</returns>
    /// <exception cref="IOException">A folder does not exist, or is none.</exception>
    /// <exception cref="Qcow2UnsupportedException">The system is not 64-bit Linux.</exception>
    public static FileBackingResolver ForTop(string topPath, IEnumerable<string>? moreFolders = null)
    {
        ArgumentNullException.ThrowIfNull(topPath);
        var resolver = new FileBackingResolver(moreFolders ?? []);
        resolver.AllowOwn(FilePlace.OfFolder(BackingPath.FolderOf(topPath)));
        FilePlace top = FilePlace.Of(topPath);
        if (!top.IsBlockDevice)
        {
            resolver.AllowOwn(BackingPath.FolderOf(top.RealPath));
        }

        return resolver;
    }

    /// <inheritdoc/>
    public Task<ImageStorage> OpenAsync(
        BackingReference reference, ImageLock imageLock, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(reference);
        cancellationToken.ThrowIfCancellationRequested();
        if (BackingPath.HasProtocol(reference.FileName))
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.BackingProtocol, $"{reference.Description} names a protocol; only files are opened");
        }

        string path = BackingPath.Combine(reference.ImagePath, reference.FileName);
        return Task.FromResult<ImageStorage>(
            FileStorage.Open(path, reference.Access, imageLock, place => RequireAllowed(reference, path, place)));
    }

    /// <summary>
    /// Checks, without opening it, whether a file would be refused. A missing file is not refused: that is a different error.
    /// </summary>
    /// <param name="reference">The file.</param>
    /// <returns>Why it is refused; null where it is not.</returns>
    public string? FindRefusal(BackingReference reference)
    {
        ArgumentNullException.ThrowIfNull(reference);
        string path = BackingPath.Combine(reference.ImagePath, reference.FileName);
        return BackingPath.HasProtocol(reference.FileName) || FileStorage.IdentityOf(path) is null
            ? null
            : FindRefusal(reference, path, FilePlace.Of(path));
    }

    private void RequireAllowed(BackingReference reference, string path, FilePlace place)
    {
        if (FindRefusal(reference, path, place) is { } refusal)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.BackingOutsideAllowedFolders, refusal);
        }
    }

    private string? FindRefusal(BackingReference reference, string path, FilePlace place)
    {
        bool isLinkToDevice = place.IsBlockDevice
            && place.RealPath.StartsWith(DeviceFolder, StringComparison.Ordinal)
            && _roots.Contains(WithSlash(FilePlace.OfFolder(BackingPath.FolderOf(path))), StringComparer.Ordinal);
        if (isLinkToDevice || _roots.Exists(root => place.RealPath.StartsWith(root, StringComparison.Ordinal)))
        {
            return null;
        }

        string allowed = _roots.Count > 0 ? string.Join(", ", _roots) : "none";
        return PrintableMessage.Of($"{reference.Description} leads to '{place.RealPath}', outside the allowed folders: {allowed}");
    }

    private void AllowOwn(string realFolder)
    {
        string folder = WithSlash(realFolder);
        if (folder is not ("/" or DeviceFolder or "/dev/mapper/") && !folder.StartsWith("/dev/disk/", StringComparison.Ordinal))
        {
            Allow(realFolder);
        }
    }

    private void Allow(string realFolder)
    {
        string root = WithSlash(realFolder);
        if (!_roots.Contains(root, StringComparer.Ordinal))
        {
            _roots.Add(root);
        }
    }

    private static string WithSlash(string folder) => folder.EndsWith('/') ? folder : folder + "/";
}
