using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Storage;

/// <summary>What a path leads to, found out without opening that.</summary>
/// <param name="RealPath">Where it really is, every symbolic link followed.</param>
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

    /// <summary>What a handle of <see cref="LinuxFile.OpenPathOnly"/> stands for.</summary>
    /// <exception cref="IOException">It is neither a regular file nor a block device.</exception>
    public static FilePlace Of(SafeFileHandle pathOnly, string path)
    {
        LinuxNative.FileFacts facts = LinuxFile.Facts(pathOnly, path);
        LinuxFile.RequireFileOrBlockDevice(facts, path);
        return new FilePlace(LinuxFile.RealPath(pathOnly), LinuxFile.IsBlockDevice(facts));
    }

    /// <summary>
    /// A mark of a file that another one does not get, though it gets its path and its number: that number, and when it was made. Null
    /// where the file system does not tell that.
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

    /// <summary>Where a folder really is, every symbolic link followed.</summary>
    /// <exception cref="IOException">There is nothing at the path, or something else than a folder.</exception>
    public static string OfFolder(string path)
    {
        using SafeFileHandle pathOnly = LinuxFile.OpenPathOnly(path);
        return LinuxFile.IsFolder(LinuxFile.Facts(pathOnly, path))
            ? LinuxFile.RealPath(pathOnly)
            : throw IOException.Of($"'{path}' is not a folder");
    }
}
