using Qcow2Bitmaps.Chains;

namespace Qcow2Bitmaps.Operations;

/// <summary>The name of a file as an image stores it.</summary>
internal static class RelativeName
{
    /// <summary>The file name where both lie in one folder, else the whole path: QEMU looks for relative names beside the image that has them.</summary>
    public static string Of(string path, string imagePath)
    {
        string whole = Path.GetFullPath(path);
        if (!string.Equals(Path.GetDirectoryName(whole), Path.GetDirectoryName(Path.GetFullPath(imagePath)), StringComparison.Ordinal))
        {
            return whole;
        }

        // A name with a colon would be taken for one with a protocol.
        string name = Path.GetFileName(whole);
        return BackingPath.HasProtocol(name) ? "./" + name : name;
    }
}
