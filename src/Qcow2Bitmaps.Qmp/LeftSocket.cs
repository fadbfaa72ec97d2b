using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Qcow2Bitmaps.Qmp;

/// <summary>
/// Handles a socket file whose server was killed. QEMU replaces whatever is at the path; this replaces only such a socket.
/// </summary>
/// <remarks>Only in 64-bit processes on Linux; elsewhere none is detected.</remarks>
internal static partial class LeftSocket
{
    private const int AtCurrentFolder = -100;
    private const int NoFollow = 0x100;
    private const uint BasicStats = 0x7ff;
    private const int TypeMask = 0xf000;
    private const int ModeSocket = 0xc000;

    /// <summary>Removes the file at a path if it is a socket that no process uses any more, and not a link.</summary>
    /// <returns>Whether it was removed.</returns>
    /// <exception cref="IOException">It cannot be removed.</exception>
    public static bool TryRemove(string path)
    {
        // Not if another server has taken it over meanwhile.
        if (Find(path) is not { } left || !IsRefused(path) || Find(path) != left)
        {
            return false;
        }

        File.Delete(path);
        return true;
    }

    /// <summary>Which socket is at a path; null for none, and for a link.</summary>
    private static (ulong Device, ulong Inode)? Find(string path) =>
        OperatingSystem.IsLinux() && Environment.Is64BitProcess
            && Statx(AtCurrentFolder, path, NoFollow, BasicStats, out FileFacts facts) == 0
            && (facts.Mode & TypeMask) == ModeSocket
            ? (facts.Device, facts.Inode)
            : null;

    /// <summary>Connects with a socket of another type: a server does not notice, even one that does not listen yet.</summary>
    private static bool IsRefused(string path)
    {
        using var probe = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
            return false;
        }
        catch (SocketException e)
        {
            return e.SocketErrorCode == SocketError.ConnectionRefused;
        }
    }

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int folder, string path, int flags, uint mask, out FileFacts facts);

    /// <summary>The kernel's <c>struct statx</c>, as far as it is read here.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    private struct FileFacts
    {
        [FieldOffset(28)]
        public ushort Mode;
        [FieldOffset(32)]
        public ulong Inode;
        [FieldOffset(136)]
        public ulong Device;
    }
}
