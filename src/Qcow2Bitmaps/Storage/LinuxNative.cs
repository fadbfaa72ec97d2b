using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Qcow2Bitmaps.Storage;

/// <summary>System calls that .NET does not offer: opening without side effects, file facts, open file description locks.</summary>
/// <remarks>Linux with 64-bit processes only; the structures are the kernel's, the same on every such architecture.</remarks>
internal static partial class LinuxNative
{
    public const int OpenReadOnly = 0;
    public const int OpenReadWrite = 2;
    public const int OpenCreate = 0x40;
    public const int OpenExclusive = 0x80;
    public const int OpenNonBlocking = 0x800;
    public const int OpenCloseOnExec = 0x80000;
    public const int OpenPathOnly = 0x200000;

    public const int SeekEnd = 2;
    public const int SeekData = 3;
    public const int SeekHole = 4;

    public const int OfdGetLock = 36;
    public const int OfdSetLock = 37;
    public const short ReadLock = 0;
    public const short WriteLock = 1;
    public const short Unlock = 2;

    public const int ErrorNoEntry = 2;
    public const int ErrorInterrupted = 4;
    public const int ErrorNoSuchAddress = 6;
    public const int ErrorExists = 17;
    public const int ErrorAgain = 11;
    public const int ErrorAccess = 13;
    public const int ErrorNotFolder = 20;
    public const int ErrorInvalid = 22;
    public const int ErrorNotSupported = 95;
    public const int ErrorNoDevice = 19;
    public const int ErrorNameTooLong = 36;
    public const int ErrorNoSystemCall = 38;
    public const int ErrorNoLocks = 37;

    public const int AllocateKeepSize = 1;
    public const int AllocatePunchHole = 2;

    public const uint SyncFileRangeWrite = 2;

    /// <summary>The kernel's FICLONERANGE.</summary>
    public const nuint CloneRangeRequest = 0x4020940D;

    public const uint StatxBasicStatsAndBirth = 0xfff;
    public const int AtEmptyPath = 0x1000;
    public const int AtCurrentFolder = -100;
    public const int AtNoFollow = 0x100;

    public const int ModeTypeMask = 0xf000;
    public const int ModeBlockDevice = 0x6000;
    public const int ModeRegular = 0x8000;
    public const int ModeDirectory = 0x4000;
    public const int ModeSocket = 0xc000;
    public const int ModeLink = 0xa000;

    /// <summary>For an owner or group: keep it unchanged.</summary>
    public const uint SameOwner = uint.MaxValue;

    /// <summary>Whether these calls and structures are valid on this system.</summary>
    public static bool IsSupported => OperatingSystem.IsLinux() && Environment.Is64BitProcess;

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true)]
    public static partial int Open(ReadOnlySpan<byte> path, int flags, int mode);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    public static partial long Seek(SafeFileHandle file, long offset, int origin);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    public static partial int FileControl(SafeFileHandle file, int command, ref FileLock fileLock);

    [LibraryImport("libc", EntryPoint = "sync_file_range")]
    public static partial int SyncFileRange(SafeFileHandle file, long offset, long length, uint flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    public static partial int Flush(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    public static partial int Allocate(SafeFileHandle file, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    public static partial int DeviceControl(SafeFileHandle file, nuint request, in CloneRange range);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true)]
    public static partial int Statx(SafeFileHandle directory, ReadOnlySpan<byte> path, int flags, uint mask, out FileFacts facts);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true)]
    public static partial int Statx(int directory, ReadOnlySpan<byte> path, int flags, uint mask, out FileFacts facts);

    [LibraryImport("libc", EntryPoint = "unlink", SetLastError = true)]
    public static partial int Unlink(ReadOnlySpan<byte> path);

    [LibraryImport("libc", EntryPoint = "rename", SetLastError = true)]
    public static partial int Rename(ReadOnlySpan<byte> path, ReadOnlySpan<byte> newPath);

    [LibraryImport("libc", EntryPoint = "fchmod", SetLastError = true)]
    public static partial int ChangeMode(SafeFileHandle file, uint mode);

    [LibraryImport("libc", EntryPoint = "fchown", SetLastError = true)]
    public static partial int ChangeOwner(SafeFileHandle file, uint user, uint group);

    [LibraryImport("libc", EntryPoint = "geteuid")]
    public static partial uint EffectiveUser();

    [LibraryImport("libc", EntryPoint = "getxattr", SetLastError = true)]
    public static partial nint GetAttribute(ReadOnlySpan<byte> path, ReadOnlySpan<byte> name, nint value, nuint valueBytes);

    [LibraryImport("libc", EntryPoint = "opendir", SetLastError = true)]
    public static partial nint OpenFolder(ReadOnlySpan<byte> path);

    [LibraryImport("libc", EntryPoint = "readdir", SetLastError = true)]
    public static partial nint ReadFolder(nint folder);

    [LibraryImport("libc", EntryPoint = "closedir")]
    public static partial int CloseFolder(nint folder);

    [LibraryImport("libc", EntryPoint = "readlink", SetLastError = true)]
    public static partial nint ReadLink(ReadOnlySpan<byte> path, Span<byte> buffer, nint bufferBytes);

    /// <summary>The kernel's <c>struct flock</c> of 64-bit processes.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct FileLock
    {
        public short Type;
        public short Origin;
        public long Start;
        public long Length;
        public int ProcessId;
    }

    /// <summary>The kernel's <c>struct file_clone_range</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct CloneRange
    {
        public long SourceFile;
        public ulong SourceOffset;
        public ulong Length;
        public ulong Offset;
    }

    /// <summary>The part of the kernel's <c>struct statx</c> that is used here.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    public struct FileFacts
    {
        [FieldOffset(20)]
        public uint User;
        [FieldOffset(24)]
        public uint Group;
        [FieldOffset(28)]
        public ushort Mode;
        [FieldOffset(32)]
        public ulong Inode;
        [FieldOffset(40)]
        public ulong SizeBytes;
        [FieldOffset(48)]
        public ulong Blocks512;
        [FieldOffset(80)]
        public long BirthSeconds;
        [FieldOffset(88)]
        public uint BirthNanoseconds;
        [FieldOffset(112)]
        public long LastWriteSeconds;
        [FieldOffset(120)]
        public uint LastWriteNanoseconds;
        [FieldOffset(128)]
        public uint NodeDeviceMajor;
        [FieldOffset(132)]
        public uint NodeDeviceMinor;
        [FieldOffset(136)]
        public uint HostDeviceMajor;
        [FieldOffset(140)]
        public uint HostDeviceMinor;
    }
}
