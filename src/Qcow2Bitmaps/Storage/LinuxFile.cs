using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Storage;

// Decisions: docs/decisions/storage.md.
/// <summary>Opens regular files and block devices, and nothing else, on Linux; wraps other system calls that .NET lacks.</summary>
internal static class LinuxFile
{
    private const int CloneAlignmentBytes = 4096;
    private const int MinCloneBytes = 64 << 10;

    /// <summary>Finds out what a path leads to, without opening it in any way that a device or a FIFO would notice.</summary>
    public static SafeFileHandle OpenPathOnly(string path) =>
        OpenHandle(ImageText.Encode(path), path, LinuxNative.OpenPathOnly | LinuxNative.OpenCloseOnExec);

    /// <summary>Opens the file that a handle of <see cref="OpenPathOnly"/> refers to.</summary>
    public static SafeFileHandle Reopen(SafeFileHandle pathOnly, string path, FileAccess access)
    {
        int mode = access == FileAccess.ReadWrite ? LinuxNative.OpenReadWrite : LinuxNative.OpenReadOnly;
        return OpenHandle(
            ImageText.Encode(LinkOf(pathOnly)), path, mode | LinuxNative.OpenNonBlocking | LinuxNative.OpenCloseOnExec);
    }

    /// <summary>Makes a regular file for reading and writing, of a mode less the umask; null when there is something at the path.</summary>
    public static SafeFileHandle? CreateNew(string path, int mode)
    {
        const int flags = LinuxNative.OpenReadWrite | LinuxNative.OpenCreate | LinuxNative.OpenExclusive | LinuxNative.OpenCloseOnExec;
        int descriptor = LinuxNative.Open(Terminated(path), flags, mode);
        if (descriptor >= 0)
        {
            return new SafeFileHandle(descriptor, ownsHandle: true);
        }

        int error = Marshal.GetLastPInvokeError();
        return error == LinuxNative.ErrorExists ? null : throw Error(path, error, "create");
    }

    /// <summary>Removes the name of a file, if the path still leads to it.</summary>
    public static void Delete(SafeFileHandle file, string path)
    {
        using SafeFileHandle found = OpenPathOnly(path);
        if (Identity(Facts(found, path)) == Identity(Facts(file, path))
            && LinuxNative.Unlink(Terminated(path)) != 0)
        {
            throw Error(path, Marshal.GetLastPInvokeError(), "delete");
        }
    }

    /// <summary>The real path of a handle's file, with every symbolic link resolved.</summary>
    public static string RealPath(SafeFileHandle file)
    {
        var target = new byte[4096];
        nint length = LinuxNative.ReadLink([.. ImageText.Encode(LinkOf(file)), 0], target, target.Length);
        return length > 0 && length < target.Length
            ? ImageText.Decode(target.AsSpan(0, (int)length))
            : throw IOException.Of("The system does not say where an open file is");
    }

    public static LinuxNative.FileFacts Facts(SafeFileHandle file, string path) =>
        LinuxNative.Statx(file, "\0"u8, LinuxNative.AtEmptyPath, LinuxNative.StatxBasicStatsAndBirth, out LinuxNative.FileFacts facts) == 0
            ? facts
            : throw Error(path, Marshal.GetLastPInvokeError());

    public static bool IsBlockDevice(LinuxNative.FileFacts facts) =>
        (facts.Mode & LinuxNative.ModeTypeMask) == LinuxNative.ModeBlockDevice;

    public static bool IsSocket(LinuxNative.FileFacts facts) => (facts.Mode & LinuxNative.ModeTypeMask) == LinuxNative.ModeSocket;

    public static bool IsFolder(LinuxNative.FileFacts facts) => (facts.Mode & LinuxNative.ModeTypeMask) == LinuxNative.ModeDirectory;

    /// <summary>Refuses everything but regular files and block devices.</summary>
    public static void RequireFileOrBlockDevice(LinuxNative.FileFacts facts, string path)
    {
        switch (facts.Mode & LinuxNative.ModeTypeMask)
        {
            case LinuxNative.ModeRegular or LinuxNative.ModeBlockDevice:
                return;
            case LinuxNative.ModeDirectory:
                throw IOException.Of($"Could not open '{path}': it is a directory, not a regular file or a block device");
            default:
                throw IOException.Of($"Could not open '{path}': it is not a regular file or a block device");
        }
    }

    /// <summary>The device that holds a file, and the file's number on it; for a device node, the device itself and 0.</summary>
    public static StorageIdentity Identity(LinuxNative.FileFacts facts) => new(IsBlockDevice(facts)
        ? (DeviceNumber(facts.NodeDeviceMajor, facts.NodeDeviceMinor), 0UL)
        : (DeviceNumber(facts.HostDeviceMajor, facts.HostDeviceMinor), facts.Inode));

    /// <summary>Punches a hole, which reads as zeros, in a file or a device.</summary>
    public static bool TryPunchHole(SafeFileHandle file, long offset, long length, out int error)
    {
        bool isDone = LinuxNative.Allocate(file, LinuxNative.AllocatePunchHole | LinuxNative.AllocateKeepSize, offset, length) == 0;
        error = isDone ? 0 : Marshal.GetLastPInvokeError();
        return isDone;
    }

    /// <summary>Whether sharing a range is worth a try: it is made of many whole blocks of a usual size.</summary>
    public static bool IsCloneable(long sourceOffset, long offset, long length) =>
        LinuxNative.IsSupported && length >= MinCloneBytes && ((sourceOffset | offset | length) & (CloneAlignmentBytes - 1)) == 0;

    /// <summary>Makes a range of a file share the blocks of another file.</summary>
    public static bool TryClone(SafeFileHandle file, SafeFileHandle source, long sourceOffset, long offset, long length)
    {
        bool isCounted = false;
        try
        {
            source.DangerousAddRef(ref isCounted);
            var range = new LinuxNative.CloneRange
            {
                SourceFile = source.DangerousGetHandle(),
                SourceOffset = (ulong)sourceOffset,
                Length = (ulong)length,
                Offset = (ulong)offset,
            };
            return LinuxNative.DeviceControl(file, LinuxNative.CloneRangeRequest, range) == 0;
        }
        finally
        {
            if (isCounted)
            {
                source.DangerousRelease();
            }
        }
    }

    /// <summary>Allocates space, which reads as zeros; false where the file system or the device does not support that.</summary>
    /// <exception cref="IOException">There is no space, or the storage failed.</exception>
    public static bool TryAllocate(SafeFileHandle file, string path, long offset, long length, CancellationToken cancellationToken)
    {
        while (LinuxNative.Allocate(file, 0, offset, length) != 0)
        {
            int error = Marshal.GetLastPInvokeError();
            if (IsUnsupported(error))
            {
                return false;
            }

            if (error != LinuxNative.ErrorInterrupted)
            {
                throw IOException.Of($"'{path}': Could not preallocate new data: {Marshal.GetPInvokeErrorMessage(error)}", error);
            }

            cancellationToken.ThrowIfCancellationRequested();
        }

        return true;
    }

    /// <summary>Whether an error of a hole or allocation call means that it is not supported.</summary>
    public static bool IsUnsupported(int error) =>
        error is LinuxNative.ErrorInvalid or LinuxNative.ErrorNotSupported or LinuxNative.ErrorNoDevice or LinuxNative.ErrorNoSystemCall;

    private static ulong DeviceNumber(uint major, uint minor) => ((ulong)major << 32) | minor;

    /// <summary>A path to the file of a handle.</summary>
    public static string LinkOf(SafeFileHandle file) =>
        "/proc/self/fd/" + file.DangerousGetHandle().ToString(CultureInfo.InvariantCulture);

    private static SafeFileHandle OpenHandle(byte[] pathBytes, string path, int flags)
    {
        int descriptor = LinuxNative.Open(Terminated(pathBytes, path), flags, 0);
        return descriptor >= 0 ? new SafeFileHandle(descriptor, ownsHandle: true) : throw Error(path, Marshal.GetLastPInvokeError());
    }

    /// <summary>A path as a NUL-terminated string for system calls.</summary>
    public static byte[] Terminated(string path) => Terminated(ImageText.Encode(path), path);

    private static byte[] Terminated(byte[] pathBytes, string path) => pathBytes.AsSpan().Contains((byte)0)
        ? throw IOException.Of($"Could not open '{path}': it holds a NUL character")
        : [.. pathBytes, 0];

    public static Exception Error(string path, int error, string what = "open") => error switch
    {
        LinuxNative.ErrorNoEntry =>
            new FileNotFoundException(PrintableMessage.Of($"Could not {what} '{path}': {Marshal.GetPInvokeErrorMessage(error)}"), path),
        LinuxNative.ErrorAccess =>
            new UnauthorizedAccessException(PrintableMessage.Of($"Could not {what} '{path}': {Marshal.GetPInvokeErrorMessage(error)}")),
        _ => IOException.Of($"Could not {what} '{path}': {Marshal.GetPInvokeErrorMessage(error)}", error),
    };
}
