using System.Runtime.InteropServices;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Storage;

/// <summary>Operations on file names. Keeps bytes that are not UTF-8 (<see cref="ImageText"/>); the framework would replace them.</summary>
internal static class FileNames
{
    private const int EntryLengthOffset = 16;
    private const int EntryTypeOffset = 18;
    private const int EntryNameOffset = 19;
    private const byte FolderEntry = 4;

    /// <summary>The current folder, which relative paths start from.</summary>
    /// <exception cref="IOException">The system cannot report it.</exception>
    public static string CurrentFolder => LinuxNative.IsSupported ? FilePlace.OfFolder(".") : Environment.CurrentDirectory;

    /// <summary>The absolute path with <c>.</c> and <c>..</c> resolved textually: links are not followed.</summary>
    public static string Whole(string path) =>
        Path.IsPathFullyQualified(path) ? Path.GetFullPath(path) : Path.GetFullPath(path, CurrentFolder);

    /// <summary>The folder of a path that need not exist.</summary>
    public static string FolderOf(string path) => Path.GetDirectoryName(Whole(path)) ?? "/";

    /// <summary>Whether the name exists. Nothing is opened, and a dangling link counts as existing.</summary>
    public static bool Exists(string path)
    {
        if (!LinuxNative.IsSupported)
        {
            return Path.Exists(path);
        }

        return path.Length > 0 && !path.Contains('\0', StringComparison.Ordinal) && FactsOfName(path) is not null;
    }

    /// <summary>Whether the name itself is a symbolic link.</summary>
    public static bool IsLink(string path) => LinuxNative.IsSupported
        ? FactsOfName(path) is { } facts && (facts.Mode & LinuxNative.ModeTypeMask) == LinuxNative.ModeLink
        : new FileInfo(path).LinkTarget is not null;

    /// <summary>Gives a file another name.</summary>
    /// <exception cref="IOException">The new name exists and must not be replaced, or the file cannot be renamed.</exception>
    /// <exception cref="UnauthorizedAccessException">The permissions forbid it.</exception>
    public static void Rename(string path, string newPath, bool overwrite)
    {
        FileTrace.Current?.ChangeName(path);
        if (!overwrite && Exists(newPath))
        {
            throw IOException.Of($"Could not rename '{path}': '{newPath}' exists");
        }

        if (!LinuxNative.IsSupported)
        {
            File.Move(path, newPath, overwrite);
        }
        else if (LinuxNative.Rename(LinuxFile.Terminated(path), LinuxFile.Terminated(newPath)) != 0)
        {
            throw LinuxFile.Error(path, Marshal.GetLastPInvokeError(), "rename");
        }
    }

    /// <summary>Removes a name if it exists; for a link, the link itself.</summary>
    /// <exception cref="IOException">It cannot be removed.</exception>
    /// <exception cref="UnauthorizedAccessException">The permissions forbid it.</exception>
    public static void Delete(string path)
    {
        FileTrace.Current?.ChangeName(path);
        if (!LinuxNative.IsSupported)
        {
            File.Delete(path);
        }
        else if (LinuxNative.Unlink(LinuxFile.Terminated(path)) != 0
            && Marshal.GetLastPInvokeError() is var error and not (LinuxNative.ErrorNoEntry or LinuxNative.ErrorNotFolder))
        {
            throw LinuxFile.Error(path, error, "delete");
        }
    }

    /// <summary>The paths of everything in a folder except subfolders.</summary>
    /// <exception cref="IOException">The folder cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">The permissions forbid it.</exception>
    public static IEnumerable<string> FilesIn(string folder)
    {
        if (!LinuxNative.IsSupported)
        {
            return Directory.EnumerateFiles(folder);
        }

        nint opened = LinuxNative.OpenFolder(LinuxFile.Terminated(folder));
        if (opened == 0)
        {
            throw LinuxFile.Error(folder, Marshal.GetLastPInvokeError());
        }

        var names = new List<string>();
        try
        {
            while (LinuxNative.ReadFolder(opened) is var entry && entry != 0)
            {
                string name = NameOf(entry);
                if (name is not ("." or "..") && Marshal.ReadByte(entry, EntryTypeOffset) != FolderEntry)
                {
                    names.Add(Path.Combine(folder, name));
                }
            }

            int error = Marshal.GetLastPInvokeError();
            return error == 0 ? names : throw LinuxFile.Error(folder, error, "read");
        }
        finally
        {
            _ = LinuxNative.CloseFolder(opened);
        }
    }

    /// <summary>The name in a <c>struct dirent</c> of 64-bit Linux; a NUL ends it.</summary>
    private static string NameOf(nint entry)
    {
        var bytes = new byte[(ushort)Marshal.ReadInt16(entry, EntryLengthOffset) - EntryNameOffset];
        Marshal.Copy(entry + EntryNameOffset, bytes, 0, bytes.Length);
        return ImageText.DecodeUpToNul(bytes);
    }

    private static LinuxNative.FileFacts? FactsOfName(string path)
    {
        if (LinuxNative.Statx(
            LinuxNative.AtCurrentFolder, LinuxFile.Terminated(path), LinuxNative.AtNoFollow, LinuxNative.StatxBasicStatsAndBirth,
            out LinuxNative.FileFacts facts) == 0)
        {
            return facts;
        }

        int error = Marshal.GetLastPInvokeError();
        return error is LinuxNative.ErrorNoEntry or LinuxNative.ErrorNotFolder or LinuxNative.ErrorNameTooLong
            ? null
            : throw LinuxFile.Error(path, error, "look at");
    }
}
