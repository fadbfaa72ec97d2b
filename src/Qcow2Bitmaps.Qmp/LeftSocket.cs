using System.Net.Sockets;
using Microsoft.Win32.SafeHandles;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Qmp;

/// <summary>A socket's file whose server was killed. QEMU takes over whatever is at the path; here only that.</summary>
internal static class LeftSocket
{
    /// <summary>Removes what is at a path, if it is a socket, not a link to one, that no process has any more.</summary>
    /// <returns>Whether it was removed. On systems other than Linux it never is.</returns>
    /// <exception cref="IOException">It cannot be looked at or removed.</exception>
    public static bool TryRemove(string path)
    {
        if (!LinuxNative.IsSupported || new FileInfo(path).LinkTarget is not null)
        {
            return false;
        }

        using SafeFileHandle file = LinuxFile.OpenPathOnly(path);
        if (!LinuxFile.IsSocket(LinuxFile.Facts(file, path)) || !IsRefused(path))
        {
            return false;
        }

        // Not if another server has taken it over meanwhile.
        LinuxFile.Delete(file, path);
        return true;
    }

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
}
