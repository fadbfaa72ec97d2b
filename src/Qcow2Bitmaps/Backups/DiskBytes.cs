namespace Qcow2Bitmaps.Backups;

/// <summary>
/// Adds numbers of bytes. Those of several disks may be more than a <see cref="long"/> holds; then the sum is the most that it holds.
/// </summary>
internal static class DiskBytes
{
    public static long Add(long bytes, long moreBytes) => moreBytes > long.MaxValue - bytes ? long.MaxValue : bytes + moreBytes;

    public static long Total(IEnumerable<long> bytes) => bytes.Aggregate(0L, Add);
}
