using Microsoft.Win32.SafeHandles;

namespace Qcow2Bitmaps.Storage;

/// <summary>A file that another one is made from: its permissions.</summary>
/// <param name="Path">The path that led to it.</param>
/// <param name="Facts">Its owner, group and mode.</param>
/// <param name="HasAccessList">Whether it has an access control list: then the bits of its group are only a maximum.</param>
internal sealed record FileSource(string Path, LinuxNative.FileFacts Facts, bool HasAccessList)
{
    /// <summary>The permissions of a handle's file; a path-only handle is enough.</summary>
    public static FileSource Of(SafeFileHandle file, string path)
    {
        bool hasAccessList = LinuxNative.GetAttribute(
            [.. ImageText.Encode(LinuxFile.LinkOf(file)), 0], "system.posix_acl_access\0"u8, 0, 0) > 0;
        return new FileSource(path, LinuxFile.Facts(file, path), hasAccessList);
    }

    /// <summary>Whether its name, or the file that it leads to, is in a folder.</summary>
    public bool LiesIn(string realFolder)
    {
        try
        {
            return string.Equals(FilePlace.OfFolder(ImagePath.FolderOf(Path)), realFolder, StringComparison.Ordinal)
                || string.Equals(FileNames.FolderOf(FilePlace.Of(Path).RealPath), realFolder, StringComparison.Ordinal);
        }
        catch (IOException)
        {
            // Renamed or removed since it was opened.
            return false;
        }
    }
}
