namespace Qcow2Bitmaps.Format;

/// <summary>One entry of the refcount table: where a refcount block is. Spec: "Refcount table entry".</summary>
/// <param name="Raw">The entry's value.</param>
internal readonly record struct RefcountTableEntry(ulong Raw)
{
    private const ulong ReservedMask = 0x1ff;

    /// <summary>Where the block starts, in bytes from the start of the file; 0 without one, all its counts being zero.</summary>
    public ulong BlockOffset => Raw & ~ReservedMask;

    /// <summary>Checks the entry.</summary>
    /// <param name="clusterBits">The cluster size as a power of two.</param>
    /// <returns><see cref="FaultCode.None"/>, <see cref="FaultCode.RefcountTableEntryReserved"/> or
    /// <see cref="FaultCode.RefcountTableEntryUnaligned"/>.</returns>
    public FaultCode Check(int clusterBits) => (Raw & ReservedMask) != 0
        ? FaultCode.RefcountTableEntryReserved
        : ImageGeometry.IsClusterAligned(BlockOffset, clusterBits) ? FaultCode.None : FaultCode.RefcountTableEntryUnaligned;
}
