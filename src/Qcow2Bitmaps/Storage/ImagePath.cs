namespace Qcow2Bitmaps.Storage;

/// <summary>File names stored in an image: whether they have a protocol, and how they resolve to paths, by QEMU's rules.</summary>
internal static class ImagePath
{
    /// <summary>Whether a name starts with a protocol: a colon comes before the first slash.</summary>
    public static bool HasProtocol(string name)
    {
        int end = name.AsSpan().IndexOfAny(':', '/');
        return end >= 0 && name[end] == ':';
    }

    /// <summary>Resolves a name against the image's folder; absolute names and names with a protocol stay as they are.</summary>
    public static string Combine(string imagePath, string name) =>
        name.StartsWith('/') || HasProtocol(name) ? name : string.Concat(imagePath.AsSpan(0, imagePath.LastIndexOf('/') + 1), name);

    /// <summary>The folder that a path names, up to its last slash.</summary>
    public static string FolderOf(string path) => path.LastIndexOf('/') switch
    {
        < 0 => ".",
        int slash => path[..(slash + 1)],
    };
}
