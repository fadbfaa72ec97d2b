using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Storage;

/// <summary>What a path leads to, found out without opening that.</summary>
/// <param name="RealPath">Its real path, with every symbolic link resolved.</param>
/// <param name="IsBlockDevice">Whether it is a block device; else it is a regular file.</param>
internal readonly record struct FilePlace(string RealPath, bool IsBlockDevice)
{
    /// <summary>What a path leads to.</summary>
    /// <exception cref="IOException">There is nothing at the path, or neither a regular file nor a block device.</exception>
    public static FilePlace Of(string path)
    {
        using SafeFileHandle pathOnly = LinuxFile.OpenPathOnly(path);
        return Of(pathOnly, path);
    }

    /// <summary>The file that a handle of <see cref="LinuxFile.OpenPathOnly"/> refers to.</summary>
    /// <exception cref="IOException">It is neither a regular file nor a block device.</exception>
    public static FilePlace Of(SafeFileHandle pathOnly, string path)
    {
        LinuxNative.FileFacts facts = LinuxFile.Facts(pathOnly, path);
        LinuxFile.RequireFileOrBlockDevice(facts, path);
        return new FilePlace(LinuxFile.RealPath(pathOnly), LinuxFile.IsBlockDevice(facts));
    }

    /// <summary>
    /// A string that identifies a file: its inode number and creation time. A later file with the same path and inode number gets another
    /// one. Null where the file system does not report the creation time.
    /// </summary>
    /// <exception cref="IOException">There is nothing at the path.</exception>
    public static string? MarkOf(string path)
    {
        if (!LinuxNative.IsSupported)
        {
            return null;
        }

        using SafeFileHandle pathOnly = LinuxFile.OpenPathOnly(path);
        LinuxNative.FileFacts facts = LinuxFile.Facts(pathOnly, path);
        return facts is { BirthSeconds: 0, BirthNanoseconds: 0 }
            ? null
            : string.Create(CultureInfo.InvariantCulture, $"{facts.Inode:x}-{facts.BirthSeconds:x}.{facts.BirthNanoseconds:x}");
    }

    /// <summary>The real path of a folder, with every symbolic link resolved.</summary>
    /// <exception cref="IOException">There is nothing at the path, or it is not a folder.</exception>
    public static string OfFolder(string path)
    {
        using SafeFileHandle pathOnly = LinuxFile.OpenPathOnly(path);
        return LinuxFile.IsFolder(LinuxFile.Facts(pathOnly, path))
            ? LinuxFile.RealPath(pathOnly)
            : throw IOException.Of($"'{path}' is not a folder");
    }
}
