namespace Qcow2Bitmaps.Storage;

/// <summary>How a file name that stands in an image becomes a path, by QEMU's rules.</summary>
internal static class ImagePath
{
    /// <summary>Whether a name starts with a protocol: a colon comes before the first slash.</summary>
    public static bool HasProtocol(string name)
    {
        int end = name.AsSpan().IndexOfAny(':', '/');
        return end >= 0 && name[end] == ':';
    }

    /// <summary>Puts a name behind the folder of the image that holds it; an absolute name and one with a protocol stay as they are.</summary>
    public static string Combine(string imagePath, string name) => name.StartsWith('/') || HasProtocol(name)
        ? name
        : string.Concat(imagePath.AsSpan(0, imagePath.LastIndexOf('/') + 1), name);
}
