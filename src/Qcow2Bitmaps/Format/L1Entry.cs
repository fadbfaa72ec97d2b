namespace Qcow2Bitmaps.Format;

/// <summary>One entry of an L1 table: where an L2 table is. Spec: "L1 table entry".</summary>
/// <param name="Raw">The entry's value.</param>
internal readonly record struct L1Entry(ulong Raw)
{
    internal const ulong OffsetMask = 0x00fffffffffffe00;
    internal const ulong CopiedFlag = 1UL << 63;
    private const ulong ReservedMask = 0x7f000000000001ff;

    /// <summary>Where the L2 table starts, in bytes from the start of the file; 0 without one.</summary>
    public ulong L2TableOffset => Raw & OffsetMask;

    /// <summary>Whether there is an L2 table.</summary>
    public bool IsAllocated => L2TableOffset != 0;

    /// <summary>Whether the L2 table's reference count is exactly one (bit 63).</summary>
    public bool IsCopied => (Raw & CopiedFlag) != 0;

    /// <summary>An entry for an L2 table.</summary>
    /// <param name="l2TableOffset">Where the table starts; aligned, below 2^56.</param>
    /// <param name="isCopied">Whether its reference count is exactly one.</param>
    public static L1Entry Create(ulong l2TableOffset, bool isCopied) =>
        new((l2TableOffset & OffsetMask) | (isCopied ? CopiedFlag : 0));

    /// <summary>Checks the entry.</summary>
    /// <param name="clusterBits">The cluster size as a power of two.</param>
    /// <returns><see cref="FaultCode.None"/>, <see cref="FaultCode.L1EntryReserved"/> or
    /// <see cref="FaultCode.L1EntryUnaligned"/>.</returns>
    public FaultCode Check(int clusterBits) => (Raw & ReservedMask) != 0
        ? FaultCode.L1EntryReserved
        : ImageGeometry.IsClusterAligned(L2TableOffset, clusterBits) ? FaultCode.None : FaultCode.L1EntryUnaligned;
}
