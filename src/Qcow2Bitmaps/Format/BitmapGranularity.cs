using System.Numerics;

namespace Qcow2Bitmaps.Format;

/// <summary>The range of bitmap granularities: how many bytes of disk one bit stands for.</summary>
internal static class BitmapGranularity
{
    /// <summary>The smallest, as a power of two: 512 bytes.</summary>
    public const int MinBits = 9;

    /// <summary>The largest, as a power of two: 2 GiB.</summary>
    public const int MaxBits = 31;

    /// <summary>QEMU's default for a new bitmap: the cluster size, clamped to 4 KiB..64 KiB.</summary>
    /// <param name="clusterSizeBytes">The image's cluster size in bytes.</param>
    /// <returns>The granularity in bytes.</returns>
    public static long DefaultBytes(int clusterSizeBytes) => Math.Clamp(clusterSizeBytes, 4 << 10, 64 << 10);

    /// <summary>The power of two of a granularity given in bytes.</summary>
    /// <param name="granularityBytes">A power of two from 512 to 2 GiB.</param>
    /// <returns>The exponent, <see cref="MinBits"/> to <see cref="MaxBits"/>.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The granularity is no power of two or outside the range.</exception>
    public static int BitsOf(long granularityBytes)
    {
        if (granularityBytes is < 1L << MinBits or > 1L << MaxBits || !BitOperations.IsPow2(granularityBytes))
        {
            throw new ArgumentOutOfRangeException(
                nameof(granularityBytes), granularityBytes, "Granularity must be a power of 2 from 512 bytes to 2 GiB");
        }

        return BitOperations.Log2((ulong)granularityBytes);
    }
}
