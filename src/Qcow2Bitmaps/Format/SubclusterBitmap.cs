namespace Qcow2Bitmaps.Format;

/// <summary>The second 8 bytes of an extended L2 entry: an allocation bit and a zero bit for each of 32 subclusters.</summary>
/// <param name="Raw">The value: allocation bits in the low half, zero bits in the high half.</param>
internal readonly record struct SubclusterBitmap(ulong Raw)
{
    /// <summary>Creates the value from its halves.</summary>
    /// <param name="allocated">Bit n: subcluster n is allocated.</param>
    /// <param name="zero">Bit n: subcluster n reads as zeros.</param>
    public SubclusterBitmap(uint allocated, uint zero)
        : this(((ulong)zero << 32) | allocated)
    {
    }

    /// <summary>Bit n: subcluster n is allocated.</summary>
    public uint Allocated => (uint)(Raw & uint.MaxValue);

    /// <summary>Bit n: subcluster n reads as zeros.</summary>
    public uint Zero => (uint)(Raw >> 32);

    /// <summary>Checks the value.</summary>
    /// <param name="isCompressed">Whether the cluster is compressed; then it has no subclusters.</param>
    /// <returns><see cref="FaultCode.None"/> or <see cref="FaultCode.L2SubclusterBitmap"/>.</returns>
    public FaultCode Check(bool isCompressed) =>
        (Raw & (Raw >> 32)) != 0 || (isCompressed && Raw != 0) ? FaultCode.L2SubclusterBitmap : FaultCode.None;
}
