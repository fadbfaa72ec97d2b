using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Storage;

/// <summary>Small files whose creation, replacement and deletion survive a loss of power.</summary>
internal static class DurableFile
{
    private const string UnfinishedSuffix = ".new";
    private const int PieceBytes = 64 << 10;

    /// <summary>Writes a file; it must not exist. A reader never finds it incomplete: until it is durable it has another name.</summary>
    /// <exception cref="IOException">The file exists or cannot be written.</exception>
    public static void Write(string path, ReadOnlySpan<byte> bytes, FileRights rights) => Write(path, bytes, rights, overwrite: false);

    /// <summary>Replaces a file, if there is one, and keeps its rights. A reader finds the old file or the new one.</summary>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static void Replace(string path, ReadOnlySpan<byte> bytes, FileRights rights) =>
        Write(path, bytes, rights.With(path), overwrite: true);

    /// <summary>Renames a file to a name that does not exist yet.</summary>
    /// <exception cref="IOException">Something has that name, or the file cannot be renamed.</exception>
    public static void Rename(string path, string newPath)
    {
        Move(path, newPath);
        FlushFolderOf(newPath);
    }

    /// <summary>Like <see cref="Rename"/>, for a caller that makes the name durable by <see cref="FlushFolderOf"/>.</summary>
    public static void Move(string path, string newPath)
    {
        FileNames.Rename(path, newPath, overwrite: false);
        FileTrace.Current?.Rename(path, newPath);
    }

    /// <summary>Makes a file durable that another party wrote.</summary>
    /// <exception cref="IOException">The storage failed, or the file cannot be opened.</exception>
    public static void Flush(string path)
    {
        using SafeFileHandle file = FileStorage.OpenToRead(path);
        Flush(file, path);
    }

    /// <summary>Writes a storage's content to a new file, zeros as holes. The file gets its name once it is whole and durable.</summary>
    /// <exception cref="IOException">The file exists or cannot be written.</exception>
    public static async ValueTask WriteAsync(string path, ImageStorage content, FileRights rights, CancellationToken cancellationToken)
    {
        string unfinished = UnfinishedNameOf(path);
        try
        {
            using (SafeFileHandle file = Create(unfinished, rights))
            {
                var buffer = new byte[PieceBytes];
                for (long at = 0; at < content.Length; at += buffer.Length)
                {
                    int length = await content.ReadAsync(at, buffer, cancellationToken).ConfigureAwait(false);
                    if (buffer.AsSpan(0, length).ContainsAnyExcept((byte)0))
                    {
                        Write(file, unfinished, at, buffer.AsSpan(0, length));
                    }
                }

                RandomAccess.SetLength(file, content.Length);
                FileTrace.Current?.SetLength(unfinished, content.Length);
                Flush(file, unfinished);
            }

            Publish(unfinished, path, overwrite: false);
        }
        catch
        {
            FileNames.Delete(unfinished);
            throw;
        }

        FlushNameOf(path);
    }

    private static void Write(string path, ReadOnlySpan<byte> bytes, FileRights rights, bool overwrite)
    {
        string unfinished = UnfinishedNameOf(path);
        try
        {
            using (SafeFileHandle file = Create(unfinished, rights))
            {
                Write(file, unfinished, 0, bytes);
                Flush(file, unfinished);
            }

            Publish(unfinished, path, overwrite);
        }
        catch
        {
            FileNames.Delete(unfinished);
            throw;
        }

        if (overwrite)
        {
            FlushFolderOf(path);
        }
        else
        {
            FlushNameOf(path);
        }
    }

    /// <summary>Makes a new name durable; deletes the file if that fails.</summary>
    private static void FlushNameOf(string path)
    {
        try
        {
            FlushFolderOf(path);
        }
        catch
        {
            FileNames.Delete(path);
            throw;
        }
    }

    /// <summary>A unique name: existing files next to the target are never overwritten.</summary>
    private static string UnfinishedNameOf(string path) => $"{path}.{Guid.NewGuid():N}{UnfinishedSuffix}";

    private static SafeFileHandle Create(string path, FileRights rights)
    {
        SafeFileHandle file = LinuxNative.IsSupported
            ? rights.CreateNew(path) ?? throw IOException.Of($"'{path}' exists")
            : File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write, FileShare.None);
        FileTrace.Current?.Create(path);
        return file;
    }

    private static void Write(SafeFileHandle file, string path, long offset, ReadOnlySpan<byte> bytes)
    {
        RandomAccess.Write(file, bytes, offset);
        FileTrace.Current?.Write(path, offset, bytes);
    }

    private static void Flush(SafeFileHandle file, string path)
    {
        RandomAccess.FlushToDisk(file);
        FileTrace.Current?.Flush(path);
    }

    private static void Publish(string unfinished, string path, bool overwrite)
    {
        FileNames.Rename(unfinished, path, overwrite);
        FileTrace.Current?.Rename(unfinished, path);
    }

    /// <summary>Whether the name exists. Nothing is opened.</summary>
    public static bool Exists(string path) => FileNames.Exists(path);

    /// <summary>Reads a file whole.</summary>
    /// <returns>Its bytes; null when it does not exist.</returns>
    /// <exception cref="IOException">The file cannot be read, or is longer than allowed.</exception>
    public static byte[]? TryRead(string path, int maxBytes)
    {
        try
        {
            using SafeFileHandle file = FileStorage.OpenToRead(path);
            long length = RandomAccess.GetLength(file);
            if (length > maxBytes)
            {
                throw IOException.Of($"'{path}' has {length} bytes, at most {maxBytes} are read");
            }

            FileTrace.Current?.Read(path);
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
        FileNames.Delete(path);
        FileTrace.Current?.Delete(path);
        FlushFolderOf(path);
    }

    /// <summary>Makes names in a folder durable. Only Linux has a way to ask for that.</summary>
    public static void FlushFolderOf(string path)
    {
        if (!LinuxNative.IsSupported)
        {
            return;
        }

        string folder = FileNames.FolderOf(path);
        int descriptor = LinuxNative.Open([.. ImageText.Encode(folder), 0], LinuxNative.OpenReadOnly | LinuxNative.OpenCloseOnExec, 0);
        using var handle = new SafeFileHandle(descriptor, ownsHandle: true);
        if (handle.IsInvalid || (LinuxNative.Flush(handle) != 0 && Marshal.GetLastPInvokeError() is not LinuxNative.ErrorInvalid))
        {
            throw IOException.Of(
                $"'{folder}': Could not flush the folder: {Marshal.GetLastPInvokeErrorMessage()}", Marshal.GetLastPInvokeError());
        }

        FileTrace.Current?.FlushFolder(folder);
    }
}
