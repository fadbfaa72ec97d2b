namespace Qcow2Bitmaps.Format;

/// <summary>One entry of a bitmap table: the offset of a cluster of bits, or a flag that all bits are zero or one. Spec: "Bitmap
/// table".</summary>
/// <param name="Raw">The entry's value.</param>
internal readonly record struct BitmapTableEntry(ulong Raw)
{
    /// <summary>All bits of the range are zero.</summary>
    public static readonly BitmapTableEntry AllZeroes;

    /// <summary>All bits of the range are one.</summary>
    public static readonly BitmapTableEntry AllOnes = new(1);

    private const ulong OffsetMask = 0x00fffffffffffe00;
    private const ulong ReservedMask = 0xff000000000001fe;

    /// <summary>Where the cluster of bits starts, in bytes from the start of the file; 0 without one.</summary>
    public ulong Offset => Raw & OffsetMask;

    /// <summary>Whether the bits are stored in a cluster.</summary>
    public bool HasData => Offset != 0;

    /// <summary>Whether all bits of the range are one, without a cluster.</summary>
    public bool IsAllOnes => Offset == 0 && (Raw & 1) != 0;

    /// <summary>An entry for a cluster of bits.</summary>
    /// <param name="offset">Where the cluster starts, aligned to the cluster size.</param>
    /// <exception cref="ArgumentOutOfRangeException">The offset is 0 or does not fit bits 9 to 55.</exception>
    public static BitmapTableEntry AtOffset(ulong offset)
    {
        if (offset == 0 || (offset & ~OffsetMask) != 0)
        {
            throw new ArgumentOutOfRangeException(
                nameof(offset), offset, "A cluster of bits stands at an aligned offset above 0 and below 2^56");
        }

        return new BitmapTableEntry(offset);
    }

    /// <summary>Checks the entry.</summary>
    /// <param name="clusterBits">The cluster size as a power of two.</param>
    /// <returns><see cref="FaultCode.None"/>, <see cref="FaultCode.BitmapTableEntryReserved"/> or
    /// <see cref="FaultCode.BitmapTableEntryUnaligned"/>.</returns>
    public FaultCode Check(int clusterBits)
    {
        // With an offset, bit 0 is reserved.
        if ((Raw & ReservedMask) != 0 || (HasData && (Raw & 1) != 0))
        {
            return FaultCode.BitmapTableEntryReserved;
        }

        return ImageGeometry.IsClusterAligned(Offset, clusterBits) ? FaultCode.None : FaultCode.BitmapTableEntryUnaligned;
    }
}
