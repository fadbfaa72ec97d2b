using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Chains;

/// <summary>Opens backing files that are regular files or block devices below allowed folders, and nothing else.</summary>
/// <remarks>
/// Names are relative to the image that holds them. Protocols (<c>json:</c>, <c>nbd:</c>, <c>file:</c> …) are refused. Where a path
/// really leads, every symbolic link followed, is checked before the file is opened. Immutable and thread-safe.
/// </remarks>
public sealed class FileBackingResolver : IBackingResolver
{
    private readonly List<string> _roots = [];

    /// <summary>Allows some folders.</summary>
    /// <param name="allowedFolders">The folders; everything below them may be opened.</param>
    /// <exception cref="IOException">A folder does not exist.</exception>
    public FileBackingResolver(IEnumerable<string> allowedFolders)
    {
        ArgumentNullException.ThrowIfNull(allowedFolders);
        foreach (string folder in allowedFolders)
        {
            string real = FileStorage.RealPath(folder);
            string root = real.EndsWith(Path.DirectorySeparatorChar) ? real : real + Path.DirectorySeparatorChar;
            if (!_roots.Contains(root, StringComparer.Ordinal))
            {
                _roots.Add(root);
            }
        }
    }

    /// <summary>The default policy: the folder that the top image's path names, the one that really holds it, and the folders that the caller adds.</summary>
    /// <param name="topPath">The top image.</param>
    /// <param name="moreFolders">Further folders.</param>
    /// <exception cref="IOException">The image or a folder does not exist.</exception>
    public static FileBackingResolver ForTop(string topPath, IEnumerable<string>? moreFolders = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(topPath);
        return new FileBackingResolver([FolderOf(Path.GetFullPath(topPath)), FolderOf(FileStorage.RealPath(topPath)), .. moreFolders ?? []]);
    }

    /// <inheritdoc/>
    public ValueTask<ImageStorage> OpenAsync(BackingReference reference, ImageLock imageLock, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(reference);
        cancellationToken.ThrowIfCancellationRequested();
        if (BackingPath.HasProtocol(reference.FileName))
        {
            throw new Qcow2UnsupportedException(
                $"{Describe(reference)} names a protocol; only files are opened");
        }

        string path = BackingPath.Combine(reference.ImagePath, reference.FileName);
        return ValueTask.FromResult<ImageStorage>(
            FileStorage.Open(path, StorageAccess.Read, imageLock, realPath => RequireAllowed(reference, realPath)));
    }

    private void RequireAllowed(BackingReference reference, string realPath)
    {
        if (!_roots.Exists(root => realPath.StartsWith(root, StringComparison.Ordinal)))
        {
            throw new Qcow2UnsupportedException(
                $"{Describe(reference)} leads to '{PrintableText.Escape(realPath)}', outside the allowed folders: {PrintableText.Escape(string.Join(", ", _roots))}");
        }
    }

    private static string FolderOf(string fullPath) => Path.GetDirectoryName(fullPath) ?? fullPath;

    private static string Describe(BackingReference reference) =>
        $"backing file '{PrintableText.Escape(reference.FileName)}' of '{PrintableText.Escape(reference.ImagePath)}'";
}
