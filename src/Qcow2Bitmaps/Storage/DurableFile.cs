using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Storage;

/// <summary>Small files whose being there or not survives a loss of power.</summary>
internal static class DurableFile
{
    private const string UnfinishedSuffix = ".new";

    /// <summary>Writes a file; it must not exist. Whoever finds it finds all of it: until it is durable it has another name.</summary>
    /// <exception cref="IOException">The file exists or cannot be written.</exception>
    public static void Write(string path, ReadOnlySpan<byte> bytes) => Write(path, bytes, overwrite: false);

    /// <summary>Writes a file in place of one that there may be. Whoever looks finds the old one or the new one.</summary>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static void Replace(string path, ReadOnlySpan<byte> bytes) => Write(path, bytes, overwrite: true);

    /// <summary>Gives a file another name, which nothing has.</summary>
    /// <exception cref="IOException">Something has that name, or the file cannot be renamed.</exception>
    public static void Rename(string path, string newPath)
    {
        File.Move(path, newPath, overwrite: false);
        FileTrace.Current?.Rename(path, newPath);
        FlushFolderOf(newPath);
    }

    private static void Write(string path, ReadOnlySpan<byte> bytes, bool overwrite)
    {
        // A name that nobody else has: what stands beside the file is not ours.
        string unfinished = $"{path}.{Guid.NewGuid():N}{UnfinishedSuffix}";
        try
        {
            using (SafeFileHandle file = File.OpenHandle(unfinished, FileMode.CreateNew, FileAccess.Write, FileShare.None))
            {
                RandomAccess.Write(file, bytes, 0);
                FileTrace.Current?.Create(unfinished);
                FileTrace.Current?.Write(unfinished, 0, bytes);
                RandomAccess.FlushToDisk(file);
                FileTrace.Current?.Flush(unfinished);
            }

            File.Move(unfinished, path, overwrite);
            FileTrace.Current?.Rename(unfinished, path);
        }
        catch
        {
            File.Delete(unfinished);
            throw;
        }

        FlushFolderOf(path);
    }

    /// <summary>Whether there is something of that name; it is not opened, whatever it is.</summary>
    public static bool Exists(string path) => Path.Exists(path);

    /// <summary>Reads a file whole.</summary>
    /// <returns>Its bytes; null when it does not exist.</returns>
    /// <exception cref="IOException">The file cannot be read, or is longer than allowed.</exception>
    public static byte[]? TryRead(string path, int maxBytes)
    {
        try
        {
            using SafeFileHandle file = File.OpenHandle(path);
            long length = RandomAccess.GetLength(file);
            if (length > maxBytes)
            {
                throw new IOException($"'{PrintableText.Escape(path)}' has {length} bytes, at most {maxBytes} are read");
            }

            var bytes = new byte[length];
            int read = RandomAccess.Read(file, bytes, 0);
            return bytes[..read];
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }

    /// <summary>Deletes a file, if it is there.</summary>
    /// <exception cref="IOException">The file cannot be deleted.</exception>
    public static void Delete(string path)
    {
        File.Delete(path);
        FileTrace.Current?.Delete(path);
        FlushFolderOf(path);
    }

    /// <summary>Makes names in a folder durable. Only Linux has a way to ask for that.</summary>
    private static void FlushFolderOf(string path)
    {
        if (!LinuxNative.IsSupported)
        {
            return;
        }

        string folder = Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/";
        int descriptor = LinuxNative.Open([.. ImageText.Encode(folder), 0], LinuxNative.OpenReadOnly | LinuxNative.OpenCloseOnExec, 0);
        using var handle = new SafeFileHandle(descriptor, ownsHandle: true);
        if (handle.IsInvalid || (LinuxNative.Flush(handle) != 0 && Marshal.GetLastPInvokeError() is not LinuxNative.ErrorInvalid))
        {
            throw new IOException($"'{PrintableText.Escape(folder)}': Could not flush the folder: {Marshal.GetLastPInvokeErrorMessage()}", Marshal.GetLastPInvokeError());
        }

        FileTrace.Current?.FlushFolder(folder);
    }
}
