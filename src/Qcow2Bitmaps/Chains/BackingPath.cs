using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Chains;

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

    /// <summary>Puts a name behind the folder of the image that holds it; an absolute name and one with a protocol stay as they are.</summary>
    /// <param name="imagePath">The path of the image as it was opened.</param>
    /// <param name="name">The name in the image.</param>
    public static string Combine(string imagePath, string name)
    {
        ArgumentNullException.ThrowIfNull(imagePath);
        ArgumentNullException.ThrowIfNull(name);
        if (name.StartsWith('/') || HasProtocol(name))
        {
            return name;
        }

        return string.Concat(imagePath.AsSpan(0, imagePath.LastIndexOf('/') + 1), name);
    }

    /// <summary>The folder that a path names, up to its last slash.</summary>
    internal static string FolderOf(string path) => path.LastIndexOf('/') switch
    {
        < 0 => ".",
        int slash => path[..(slash + 1)],
    };
}
