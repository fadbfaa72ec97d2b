using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>Where the files of a backup stand.</summary>
internal static class BackupPaths
{
    /// <summary>What the manifest's name adds to that of its image.</summary>
    public const string ManifestSuffix = ".backup.json";

    /// <summary>What the name of a file adds that is not whole yet.</summary>
    public const string PartialSuffix = ".partial";

    private const int MaxNameBytes = 255;

    /// <summary>The path of an image's manifest; that of a manifest stays as it is.</summary>
    /// <param name="path">The path of the image, or of the manifest.</param>
    public static string ManifestOf(string path)
    {
        return path.EndsWith(ManifestSuffix, StringComparison.Ordinal)
            || path.EndsWith(ManifestSuffix + PartialSuffix, StringComparison.Ordinal)
            ? path
            : path + ManifestSuffix;
    }

    /// <summary>The path of a manifest's image, as it is named after that; null of what is no manifest's name.</summary>
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
