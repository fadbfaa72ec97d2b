namespace Qcow2Bitmaps.Storage;

/// <summary>What a file name that stands in an image says before it is a path.</summary>
internal static class ImagePath
{
    /// <summary>Whether a name starts with a protocol: a colon comes before the first slash.</summary>
    public static bool HasProtocol(string name)
    {
        int end = name.AsSpan().IndexOfAny(':', '/');
        return end >= 0 && name[end] == ':';
    }
}
