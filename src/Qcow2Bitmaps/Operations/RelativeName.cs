namespace Qcow2Bitmaps.Operations;

/// <summary>The name of a file as an image stores it.</summary>
internal static class RelativeName
{
    /// <summary>The file name where both lie in one folder, else the whole path: QEMU looks for relative names beside the image that has them.</summary>
    public static string Of(string path, string imagePath)
    {
        string whole = Path.GetFullPath(path);
        return string.Equals(Path.GetDirectoryName(whole), Path.GetDirectoryName(Path.GetFullPath(imagePath)), StringComparison.Ordinal)
            ? Path.GetFileName(whole)
            : whole;
    }
}
