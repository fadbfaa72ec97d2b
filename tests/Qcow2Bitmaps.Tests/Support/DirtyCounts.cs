using Qcow2Bitmaps.Bitmaps;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Counts of stored bitmaps in granules too: the library tells bytes.</summary>
internal static class DirtyCounts
{
    public static async Task<DirtyCount> CountAsync(this BitmapCollection bitmaps, BitmapInfo bitmap, CancellationToken token) =>
        Of(await bitmaps.CountDirtyBytesAsync(bitmap, token), bitmap);

    public static async Task<DirtyCount> CountAsync(this BitmapCollection bitmaps, string name, CancellationToken token)
    {
        long bytes = await bitmaps.CountDirtyBytesAsync(name, token);
        return Of(bytes, bitmaps.First(bitmap => string.Equals(bitmap.Name, name, StringComparison.Ordinal)));
    }

    private static DirtyCount Of(long bytes, BitmapInfo bitmap) =>
        new((bytes + bitmap.GranularityBytes - 1) / bitmap.GranularityBytes, bytes);
}
