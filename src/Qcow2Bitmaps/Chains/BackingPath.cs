using Qcow2Bitmaps.Images.Naming;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>How a backing file's name becomes a path, by QEMU's rules.</summary>
public static class BackingPath
{
    /// <summary>Whether a name starts with a protocol or pseudo-protocol, such as <c>json:</c>, <c>nbd:</c> or <c>file:</c>.</summary>
    /// <param name="name">A file name from inside an image.</param>
    /// <returns>True when a colon comes before the first slash.</returns>
    internal static bool HasProtocol(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return ImagePath.HasProtocol(name);
    }

    /// <summary>
    /// Resolves a name against the folder of the image that stores it. Absolute names are returned unchanged, and names with a protocol:
    /// those where a colon comes before the first slash, such as <c>json:</c>, <c>nbd:</c> or <c>file:</c>.
    /// </summary>
    /// <param name="imagePath">The path of the image as it was opened.</param>
    /// <param name="name">The name in the image.</param>
    public static string Combine(string imagePath, string name)
    {
        ArgumentNullException.ThrowIfNull(imagePath);
        ArgumentNullException.ThrowIfNull(name);
        return ImagePath.Combine(imagePath, name);
    }

    /// <summary>
    /// Returns why a name must not be stored unchecked, without a look at the file; null when it may be stored.
    /// </summary>
    /// <param name="imagePath">The path of the image that will store it.</param>
    /// <param name="name">The name. A name with a protocol is left to QEMU, unless a file of exactly that name exists: then it is ambiguous
    /// which of the two is meant.</param>
    public static string? FindFault(string imagePath, string name)
    {
        ArgumentNullException.ThrowIfNull(imagePath);
        ArgumentNullException.ThrowIfNull(name);
        return StoredName.FindAmbiguity(name, imagePath);
    }

    /// <summary>The folder that a path names, up to its last slash.</summary>
    internal static string FolderOf(string path) => ImagePath.FolderOf(path);
}
