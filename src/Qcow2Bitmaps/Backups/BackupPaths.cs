using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>The paths of a backup's files.</summary>
internal static class BackupPaths
{
    /// <summary>The suffix that a manifest's name adds to that of its image.</summary>
    public const string ManifestSuffix = ".backup.json";

    /// <summary>The suffix of the name of an incomplete file.</summary>
    public const string PartialSuffix = ".partial";

    private const int MaxNameBytes = 255;

    /// <summary>The path of an image's manifest; a manifest's path is returned unchanged.</summary>
    /// <param name="path">The path of the image, or of the manifest.</param>
    public static string ManifestOf(string path)
    {
        return path.EndsWith(ManifestSuffix, StringComparison.Ordinal)
            || path.EndsWith(ManifestSuffix + PartialSuffix, StringComparison.Ordinal)
            ? path
            : path + ManifestSuffix;
    }

    /// <summary>The path of the image that a manifest's name belongs to; null if it is not a manifest's name.</summary>
    public static string? ImageOf(string manifestPath) =>
        manifestPath.EndsWith(ManifestSuffix, StringComparison.Ordinal) ? manifestPath[..^ManifestSuffix.Length] : null;

    public static string PartialOf(string path) => path + PartialSuffix;

    public static string FolderOf(string path) => FileNames.FolderOf(path);

    /// <summary>Whether a text is the name of a file, and not a path that leads elsewhere.</summary>
    public static bool IsFileName(string name) =>
        name.Length > 0
        && name is not ("." or "..")
        && !name.AsSpan().ContainsAny('/', '\0')
        && ImageText.Encode(name).Length <= MaxNameBytes;
}
