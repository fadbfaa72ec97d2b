using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>The identity of a chain's disk, as manifests distinguish disks: by the images' paths and by their files.</summary>
internal sealed class DiskIdentity
{
    private readonly IReadOnlyList<string?> _files;

    private DiskIdentity(IReadOnlyList<string> paths, IReadOnlyList<string?> files)
    {
        Paths = paths;
        _files = files;
    }

    /// <summary>The full paths of its images, top first, as in manifests.</summary>
    public IReadOnlyList<string> Paths { get; }

    /// <summary>The identity of the top image's file; null if unknown.</summary>
    public string? TopFile => _files[0];

    public static DiskIdentity Of(ImageChain chain) => new(
        [.. chain.Layers.Select(static layer => PrintableText.Escape(FileNames.Whole(layer.Path)))],
        [.. chain.Layers.Select(static layer => layer.Storage is FileStorage ? FilePlace.MarkOf(layer.Path) : null)]);

    /// <summary>The identity as on a file system without file creation times.</summary>
    internal static DiskIdentity WithoutMarks(ImageChain chain) =>
        new(Of(chain).Paths, [.. chain.Layers.Select(static _ => (string?)null)]);

    /// <summary>Whether the image that a backup was taken of is in the chain.</summary>
    public bool Has(BackupManifest backup) => backup.SourceFile is { } file && _files.Contains(file, StringComparer.Ordinal);

    /// <summary>Whether the path of the image that a backup was taken of is in the chain.</summary>
    public bool IsAt(BackupManifest backup) => backup.Source.Count > 0 && Paths.Contains(backup.Source[0], StringComparer.Ordinal);

    /// <summary>
    /// Whether a backup was taken of an image of the chain, whatever its path is now; or of an image that was above the present top image
    /// and was committed or discarded.
    /// </summary>
    public bool IsOf(BackupManifest backup) =>
        Has(backup) || IsAt(backup) || backup.Source.Contains(Paths[0], StringComparer.Ordinal);
}
