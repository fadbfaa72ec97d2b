using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Storage;

/// <summary>Takes and tests QEMU's locks on an open file with open file description locks.</summary>
internal static class OfdLocks
{
    /// <summary>Takes the locks of an access, or none.</summary>
    /// <exception cref="ImageLockedException">Another party holds a conflicting lock; no lock is held then.</exception>
    /// <exception cref="IOException">The system refused for another reason.</exception>
    public static void Acquire(SafeFileHandle file, string path, ImageLock kind)
    {
        if (kind == ImageLock.None || !IsSupported(file))
        {
            return;
        }

        bool done = false;
        try
        {
            // Take locks first, then test: of two concurrent callers, at least one sees the other.
            foreach (int permission in QemuLockBytes.UsedBy(kind))
            {
                Hold(file, path, QemuLockBytes.UsedByte(permission));
            }

            foreach (int permission in QemuLockBytes.UnsharedBy(kind))
            {
                Hold(file, path, QemuLockBytes.UnsharedByte(permission));
            }

            foreach (int permission in QemuLockBytes.UsedBy(kind))
            {
                if (IsHeldElsewhere(file, QemuLockBytes.UnsharedByte(permission)))
                {
                    throw Locked(path, $"Failed to get \"{QemuLockBytes.NameOf(permission)}\" lock");
                }
            }

            foreach (int permission in QemuLockBytes.UnsharedBy(kind))
            {
                if (IsHeldElsewhere(file, QemuLockBytes.UsedByte(permission)))
                {
                    throw Locked(path, $"Failed to get shared \"{QemuLockBytes.NameOf(permission)}\" lock");
                }
            }

            done = true;
        }
        finally
        {
            if (!done)
            {
                Release(file);
            }
        }
    }

    /// <summary>Whether another party holds a writer's lock byte.</summary>
    public static bool IsWriterElsewhere(SafeFileHandle file) =>
        IsSupported(file) && IsHeldElsewhere(file, QemuLockBytes.UsedByte(QemuLockBytes.Write));

    private static bool IsSupported(SafeFileHandle file)
    {
        if (!LinuxNative.IsSupported)
        {
            return false;
        }

        LinuxNative.FileLock probe = LockOf(LinuxNative.WriteLock, QemuLockBytes.UsedByte(QemuLockBytes.ConsistentRead));
        return LinuxNative.FileControl(file, LinuxNative.OfdGetLock, ref probe) == 0 || !IsUnsupported(Marshal.GetLastPInvokeError());
    }

    private static bool IsUnsupported(int error) =>
        error is LinuxNative.ErrorInvalid or LinuxNative.ErrorNotSupported or LinuxNative.ErrorNoLocks;

    private static void Hold(SafeFileHandle file, string path, long lockByte)
    {
        LinuxNative.FileLock request = LockOf(LinuxNative.ReadLock, lockByte);
        if (LinuxNative.FileControl(file, LinuxNative.OfdSetLock, ref request) == 0)
        {
            return;
        }

        int error = Marshal.GetLastPInvokeError();
        throw error is LinuxNative.ErrorAgain or LinuxNative.ErrorAccess
            ? Locked(path, $"Failed to lock byte {lockByte}")
            : IOException.Of($"'{path}': Failed to lock byte {lockByte}: {Marshal.GetPInvokeErrorMessage(error)}", error);
    }

    private static bool IsHeldElsewhere(SafeFileHandle file, long lockByte)
    {
        LinuxNative.FileLock probe = LockOf(LinuxNative.WriteLock, lockByte);
        if (LinuxNative.FileControl(file, LinuxNative.OfdGetLock, ref probe) != 0)
        {
            int error = Marshal.GetLastPInvokeError();
            throw IOException.Of($"Failed to test the lock of byte {lockByte}: {Marshal.GetPInvokeErrorMessage(error)}", error);
        }

        return probe.Type != LinuxNative.Unlock;
    }

    /// <summary>Releases all locks of an open file.</summary>
    public static void Release(SafeFileHandle file)
    {
        if (!LinuxNative.IsSupported || file.IsClosed)
        {
            return;
        }

        LinuxNative.FileLock everything = LockOf(LinuxNative.Unlock, 0) with { Length = 0 };
        // A failure leaves locks until the file is closed, which the caller does next.
        _ = LinuxNative.FileControl(file, LinuxNative.OfdSetLock, ref everything);
    }

    private static LinuxNative.FileLock LockOf(short type, long lockByte) => new() { Type = type, Start = lockByte, Length = 1 };

    private static ImageLockedException Locked(string path, string what) =>
        new(path, $"Could not open '{path}': {what}\nIs another process using the image [{path}]?");
}
