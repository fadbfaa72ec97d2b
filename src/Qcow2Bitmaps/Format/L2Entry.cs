namespace Qcow2Bitmaps.Format;

/// <summary>The first 8 bytes of an L2 entry; an extended one has a <see cref="SubclusterBitmap"/> too. Spec: "L2 table entry".</summary>
/// <param name="Raw">The entry's value.</param>
internal readonly record struct L2Entry(ulong Raw)
{
    private const ulong CompressedFlag = 1UL << 62;
    internal const ulong ZeroFlag = 1;
    private const ulong ReservedMask = 0x3f000000000001fe;

    /// <summary>Whether the cluster is compressed (bit 62).</summary>
    public bool IsCompressed => (Raw & CompressedFlag) != 0;

    /// <summary>Whether the cluster's reference count is exactly one (bit 63).</summary>
    public bool IsCopied => (Raw & L1Entry.CopiedFlag) != 0;

    /// <summary>Where the cluster starts, in bytes from the start of the file or data file. Undefined when compressed.</summary>
    public ulong HostOffset => Raw & L1Entry.OffsetMask;

    /// <summary>How the entry describes its cluster.</summary>
    /// <param name="header">The image's header: the zero flag depends on version and entry size; a data file may use offset 0.</param>
    public L2EntryKind Kind(Qcow2Header header)
    {
        ArgumentNullException.ThrowIfNull(header);
        if (IsCompressed)
        {
            return L2EntryKind.Compressed;
        }

        bool hasHostCluster = HostOffset != 0 || (header.HasExternalDataFile && IsCopied);
        bool isZero = header.Version >= 3 && !header.HasExtendedL2 && (Raw & ZeroFlag) != 0;
        return (hasHostCluster, isZero) switch
        {
            (true, true) => L2EntryKind.ZeroAllocated,
            (true, false) => L2EntryKind.Normal,
            (false, true) => L2EntryKind.ZeroPlain,
            (false, false) => L2EntryKind.Unallocated,
        };
    }

    /// <summary>Where and how long the compressed data are.</summary>
    /// <param name="clusterBits">The cluster size as a power of two.</param>
    public CompressedDescriptor Compressed(int clusterBits) => CompressedDescriptor.Decode(Raw, clusterBits);

    /// <summary>An entry for a cluster that is not compressed.</summary>
    /// <param name="hostOffset">Where the cluster starts; 0 without one.</param>
    /// <param name="isCopied">Whether its reference count is exactly one.</param>
    /// <param name="isZero">Whether it reads as zeros (version 3, entries that are not extended).</param>
    public static L2Entry Create(ulong hostOffset, bool isCopied, bool isZero = false) =>
        new((hostOffset & L1Entry.OffsetMask) | (isCopied ? L1Entry.CopiedFlag : 0) | (isZero ? ZeroFlag : 0));

    /// <summary>An entry for a compressed cluster.</summary>
    /// <param name="descriptor">Where and how long the compressed data are.</param>
    /// <param name="clusterBits">The cluster size as a power of two.</param>
    public static L2Entry CreateCompressed(CompressedDescriptor descriptor, int clusterBits) =>
        new(CompressedFlag | descriptor.Encode(clusterBits));

    /// <summary>Checks the entry.</summary>
    /// <param name="clusterBits">The cluster size as a power of two.</param>
    /// <returns><see cref="FaultCode.None"/> or the fault of an L2 entry.</returns>
    public FaultCode Check(int clusterBits)
    {
        if (IsCompressed)
        {
            return IsCopied ? FaultCode.L2CompressedCopied : FaultCode.None;
        }

        return (Raw & ReservedMask) != 0
            ? FaultCode.L2EntryReserved
            : ImageGeometry.IsClusterAligned(HostOffset, clusterBits) ? FaultCode.None : FaultCode.L2EntryUnaligned;
    }
}
