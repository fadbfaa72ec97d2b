using System.Globalization;
using Qcow2Bitmaps.Benchmarks.Support;

namespace Qcow2Bitmaps.Benchmarks.SideBySide;

/// <summary>Fills the bitmaps of an image for the runs beside qemu-img.</summary>
internal static class BitmapImage
{
    private const int Seed = 1;

    /// <summary>
    /// Adds bits to a bitmap of an image: <c>dense</c> sets random bits everywhere, <c>all</c> all of them,
    /// <c>sparse</c> a few in one page of 64.
    /// </summary>
    public static async Task FillAsync(string path, string bitmap, string how)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite);
        long granularity = image.Bitmaps.Single(info => string.Equals(info.Name, bitmap, StringComparison.Ordinal)).GranularityBytes;
        if (string.Equals(how, "dense", StringComparison.Ordinal))
        {
            await image.Bitmaps.EditAsync(edit => edit.Merge(RandomBits(image.VirtualSizeBytes, granularity), bitmap));
            return;
        }

        await image.Bitmaps.EditAsync(edit =>
        {
            if (string.Equals(how, "all", StringComparison.Ordinal))
            {
                edit.Set(bitmap, 0, image.VirtualSizeBytes);
                return;
            }

            long pageBytes = image.Geometry.BitsPerBitmapCluster * granularity;
            for (long offset = 0; offset < image.VirtualSizeBytes; offset += 64 * pageBytes)
            {
                edit.Set(bitmap, offset, 3 * granularity);
            }
        });
    }

    /// <summary>Adds bitmaps <c>b1</c>, <c>b2</c> and so on to an image, each with one dirty granule.</summary>
    public static async Task AddAsync(string path, int count)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite);
        await image.Bitmaps.EditAsync(edit =>
        {
            for (int i = 1; i <= count; i++)
            {
                string name = string.Create(CultureInfo.InvariantCulture, $"b{i}");
                edit.Add(name);
                edit.Set(name, 0, 1);
            }
        });
    }

    private static DirtyBitmap RandomBits(long sizeBytes, long granularityBytes)
    {
        var bits = new DirtyBitmap(sizeBytes, granularityBytes);
        var random = new SplitMix64(Seed);
        // A run of 1 to 8 bits in each word.
        for (long bit = 0; bit < bits.BitCount; bit += 64)
        {
            ulong value = random.Next();
            long at = (bit + (long)(value & 63)) * granularityBytes;
            if (at < sizeBytes)
            {
                bits.Set(at, Math.Min(granularityBytes * (1 + (long)(value >> 6 & 7)), sizeBytes - at));
            }
        }

        return bits;
    }
}
