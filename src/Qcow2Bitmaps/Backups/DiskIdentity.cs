using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>Which disk a chain is, as manifests tell disks apart: by where its images are, and by which files they are.</summary>
internal sealed class DiskIdentity
{
    private readonly IReadOnlyList<string?> _files;

    private DiskIdentity(IReadOnlyList<string> paths, IReadOnlyList<string?> files)
    {
        Paths = paths;
        _files = files;
    }

    /// <summary>The whole paths of its images, top first, as manifests have them.</summary>
    public IReadOnlyList<string> Paths { get; }

    /// <summary>Which file the top image is; null where that is not known.</summary>
    public string? TopFile => _files[0];

    public static DiskIdentity Of(ImageChain chain) => new(
        [.. chain.Layers.Select(static layer => PrintableText.Escape(FileNames.Whole(layer.Path)))],
        [.. chain.Layers.Select(static layer => layer.Storage is FileStorage ? FilePlace.MarkOf(layer.Path) : null)]);

    /// <summary>The same on a file system that does not tell when a file was made.</summary>
    internal static DiskIdentity WithoutMarks(ImageChain chain) =>
        new(Of(chain).Paths, [.. chain.Layers.Select(static _ => (string?)null)]);

    /// <summary>Whether the image that a backup was taken of is in the chain.</summary>
    public bool Has(BackupManifest backup) => backup.SourceFile is { } file && _files.Contains(file, StringComparer.Ordinal);

    /// <summary>Whether the path of the image that a backup was taken of is in the chain.</summary>
    public bool IsAt(BackupManifest backup) => backup.Source.Count > 0 && Paths.Contains(backup.Source[0], StringComparer.Ordinal);

    /// <summary>
    /// Whether a backup was taken of an image of the chain, whatever its path is now; or of one that stood on what is the top
    /// image now, and was committed or discarded.
    /// </summary>
    public bool IsOf(BackupManifest backup) =>
        Has(backup) || IsAt(backup) || backup.Source.Contains(Paths[0], StringComparer.Ordinal);
}
