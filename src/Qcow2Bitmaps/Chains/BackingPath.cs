using Qcow2Bitmaps.Images.Naming;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps;

/// <summary>How a backing file's name becomes a path, by QEMU's rules.</summary>
public static class BackingPath
{
    /// <summary>Whether a name starts with a protocol or pseudo-protocol, such as <c>json:</c>, <c>nbd:</c> or <c>file:</c>.</summary>
    /// <param name="name">A file name from inside an image.</param>
    /// <returns>True when a colon comes before the first slash.</returns>
    public static bool HasProtocol(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return ImagePath.HasProtocol(name);
    }

    /// <summary>
    /// Puts a name behind the folder of the image that holds it; an absolute name and one with a protocol stay as they are.
    /// </summary>
    /// <param name="imagePath">The path of the image as it was opened.</param>
    /// <param name="name">The name in the image.</param>
    public static string Combine(string imagePath, string name)
    {
        ArgumentNullException.ThrowIfNull(imagePath);
        ArgumentNullException.ThrowIfNull(name);
        return ImagePath.Combine(imagePath, name);
    }

    /// <summary>Says why a name leads to no file that can be looked at; null when it does not start with a protocol.</summary>
    /// <param name="name">The name, as an image is to store it.</param>
    public static string? FindProtocol(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return StoredName.FindProtocol(name);
    }

    /// <summary>
    /// Says why a name cannot be stored that nobody has looked at, as with <c>create -u</c> and <c>rebase -u</c>; null when it can.
    /// </summary>
    /// <param name="imagePath">The path of the image that is to hold it.</param>
    /// <param name="name">The name. One with a protocol is QEMU's business, unless there is a file of just that name: then it is
    /// not known which of the two is meant.</param>
    public static string? FindFault(string imagePath, string name)
    {
        ArgumentNullException.ThrowIfNull(imagePath);
        ArgumentNullException.ThrowIfNull(name);
        return StoredName.FindAmbiguity(name, imagePath);
    }

    /// <summary>The folder that a path names, up to its last slash.</summary>
    internal static string FolderOf(string path) => ImagePath.FolderOf(path);
}
