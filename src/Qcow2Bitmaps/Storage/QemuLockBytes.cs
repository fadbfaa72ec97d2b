namespace Qcow2Bitmaps.Storage;

/// <summary>The bytes of an image file that QEMU locks, and which of them each kind of access holds and tests.</summary>
/// <remarks>
/// Each permission has one byte that every user of the permission locks (100 + n), and one that every process that does not share it locks
/// (200 + n). All locks are shared; a test asks whether an exclusive lock would be possible.
/// </remarks>
internal static class QemuLockBytes
{
    public const int ConsistentRead = 0;
    public const int Write = 1;
    public const int Resize = 3;

    private const long UsedBase = 100;
    private const long UnsharedBase = 200;

    private static readonly string[] s_permissionNames = ["consistent read", "write", "write unchanged", "resize"];

    /// <summary>The permissions that an access uses.</summary>
    public static ReadOnlySpan<int> UsedBy(ImageLock kind) => kind switch
    {
        ImageLock.Read or ImageLock.SharedRead => [ConsistentRead],
        ImageLock.Write => [ConsistentRead, Write, Resize],
        _ => [],
    };

    /// <summary>The permissions that an access does not let others use.</summary>
    public static ReadOnlySpan<int> UnsharedBy(ImageLock kind) => kind switch
    {
        ImageLock.Inspect or ImageLock.Read or ImageLock.Write => [Write, Resize],
        _ => [],
    };

    public static long UsedByte(int permission) => UsedBase + permission;

    public static long UnsharedByte(int permission) => UnsharedBase + permission;

    public static string NameOf(int permission) => s_permissionNames[permission];
}
