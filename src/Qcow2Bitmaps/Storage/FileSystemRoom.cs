namespace Qcow2Bitmaps.Storage;

/// <summary>How much a file can grow, for file systems whose free-space figure is reliable.</summary>
internal static class FileSystemRoom
{
    // Other file systems compress data, or share their free space.
    private static readonly string[] s_plain = ["ext2", "ext3", "ext4", "xfs", "tmpfs"];

    /// <summary>Asks a folder's file system.</summary>
    /// <returns>The bytes free for this user; null where that is unknown or unreliable.</returns>
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
