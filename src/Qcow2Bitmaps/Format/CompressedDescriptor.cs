namespace Qcow2Bitmaps.Format;

/// <summary>Where compressed data are and how many 512-byte sectors they touch. Spec: "Compressed Clusters Descriptor".</summary>
/// <param name="HostOffset">Where the data start, in bytes from the start of the file; any alignment.</param>
/// <param name="AdditionalSectors">The number of 512-byte sectors that the data touch after the one they start in.</param>
internal readonly record struct CompressedDescriptor(ulong HostOffset, int AdditionalSectors)
{
    /// <summary>The unit that the length of compressed data is counted in, in bytes.</summary>
    internal const int SectorBytes = 512;

    /// <summary>The most bytes that the data may take: from the offset to the end of the last sector.</summary>
    public int LengthBytes => ((AdditionalSectors + 1) * SectorBytes) - (int)(HostOffset & (SectorBytes - 1));

    /// <summary>Decodes the descriptor from an L2 entry.</summary>
    /// <param name="raw">The entry's value.</param>
    /// <param name="clusterBits">The cluster size as a power of two.</param>
    public static CompressedDescriptor Decode(ulong raw, int clusterBits)
    {
        int offsetBits = OffsetBits(clusterBits);
        ulong sectors = (raw >> offsetBits) & ((1UL << (62 - offsetBits)) - 1);
        return new CompressedDescriptor(raw & ((1UL << offsetBits) - 1), (int)sectors);
    }

    /// <summary>Packs the descriptor for an L2 entry, without the flags.</summary>
    /// <param name="clusterBits">The cluster size as a power of two.</param>
    /// <exception cref="InvalidOperationException">The offset or the number of sectors does not fit.</exception>
    public ulong Encode(int clusterBits)
    {
        int offsetBits = OffsetBits(clusterBits);
        if (HostOffset >> offsetBits != 0 || AdditionalSectors < 0 || AdditionalSectors >> (62 - offsetBits) != 0)
        {
            throw new InvalidOperationException(
                $"Compressed data at 0x{HostOffset:x} over {AdditionalSectors} further sectors do not fit an L2 entry of clusters of "
                + $"{1 << clusterBits} bytes");
        }

        return ((ulong)AdditionalSectors << offsetBits) | HostOffset;
    }

    // Spec: x = 62 - (cluster_bits - 8).
    private static int OffsetBits(int clusterBits) => 62 - (clusterBits - 8);
}
