namespace Qcow2Bitmaps.Storage;

/// <summary>How much a file can grow, where its file system's word on that is good.</summary>
internal static class FileSystemRoom
{
    // Others compress, or share what is free between many.
    private static readonly string[] s_plain = ["ext2", "ext3", "ext4", "xfs", "tmpfs"];

    /// <summary>Asks a folder's file system.</summary>
    /// <returns>The free bytes for this user; null where that is not known, or says little.</returns>
    public static long? AvailableBytes(string folder)
    {
        try
        {
            var drive = new DriveInfo(folder);
            return LinuxNative.IsSupported && s_plain.Contains(drive.DriveFormat, StringComparer.Ordinal) ? drive.AvailableFreeSpace : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return null;
        }
    }
}
