using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

public sealed partial record Qcow2Header
{
    /// <summary>Checks the values against the format and the limits, in QEMU's order; the first fault ends it.</summary>
    /// <param name="limits">The limits to apply.</param>
    /// <returns>The first fault, or null when QEMU would go on opening the image.</returns>
    /// <remarks>The corrupt bit does not prevent reading and is not checked.</remarks>
    internal FormatFault? Check(Qcow2Limits limits)
    {
        ArgumentNullException.ThrowIfNull(limits);
        return CheckFaults(limits).FirstOrDefault();
    }

    /// <summary>Lists every fault of the values.</summary>
    /// <param name="limits">The limits to apply.</param>
    /// <returns>The faults in QEMU's order, evaluated lazily.</returns>
    internal IEnumerable<FormatFault> CheckFaults(Qcow2Limits limits)
    {
        ArgumentNullException.ThrowIfNull(limits);
        return EnumerateFaults(limits);
    }

    private IEnumerable<FormatFault> EnumerateFaults(Qcow2Limits limits)
    {
        ulong clusterSize = 1UL << (int)ClusterBits;
        if (BackingFileOffset > clusterSize)
        {
            yield return Faults.OfHex(
                FaultCode.HeaderBackingFileOffset, Structure, "backing_file_offset", HeaderLayout.BackingFileOffset, BackingFileOffset,
                $"at most the cluster size, {clusterSize}");
        }

        if (UnknownFeatures is not IncompatibleFeatures.None)
        {
            yield return Faults.OfHex(
                FaultCode.HeaderUnknownFeature, Structure, "unknown incompatible_features", HeaderLayout.IncompatibleFeatures,
                (ulong)UnknownFeatures, $"bits of 0x{(ulong)KnownFeatures:x}");
        }

        if (CheckCompressionType() is { } compression)
        {
            yield return compression;
        }

        if (HasExtendedL2 && ClusterBits < ImageGeometry.MinExtendedL2ClusterBits)
        {
            yield return Faults.Of(
                FaultCode.HeaderClusterBits, Structure, "cluster_bits with extended L2 entries", HeaderLayout.ClusterBits, ClusterBits,
                "14 to 21 (16 KiB to 2 MiB)");
        }

        if (RefcountOrder > MaxRefcountOrder)
        {
            yield return Faults.Of(
                FaultCode.HeaderRefcountOrder, Structure, "refcount_order", HeaderLayout.RefcountOrder, RefcountOrder,
                "0 to 6 (1 to 64 bits)");
        }

        if (CryptMethod > (uint)EncryptionMethod.Luks)
        {
            yield return Faults.Of(
                FaultCode.HeaderCryptMethod, Structure, "crypt_method", HeaderLayout.CryptMethod, CryptMethod,
                "0 (none), 1 (AES) or 2 (LUKS)");
        }

        if (CheckRefcountTable(limits) is { } refcountTable)
        {
            yield return refcountTable;
        }

        if (Faults.CheckTable(
                FaultCode.HeaderSnapshotTable, Structure, ("snapshot table", HeaderLayout.SnapshotsOffset),
                new StoredTable(SnapshotsOffset, SnapshotCount, SnapshotEntry.FixedBytes),
                (ulong)limits.MaxSnapshots * SnapshotEntry.FixedBytes, (int)ClusterBits) is { } snapshots)
        {
            yield return snapshots;
        }

        if (Faults.CheckTable(
                FaultCode.HeaderL1Table, Structure, ("L1 table", HeaderLayout.L1TableOffset), new StoredTable(L1TableOffset, L1Size),
                (ulong)limits.MaxL1TableBytes, (int)ClusterBits) is { } l1)
        {
            yield return l1;
        }

        if (CheckVirtualSize() is { } size)
        {
            yield return size;
        }
    }

    private FormatFault? CheckCompressionType()
    {
        bool bit = IncompatibleFeatures.HasFlag(IncompatibleFeatures.CompressionType);
        string? allowed = CompressionType switch
        {
            CompressionType.Zlib => bit ? "a type other than 0 while the incompatible bit 3 is set" : null,
            CompressionType.Zstd => bit ? null : "0 while the incompatible bit 3 is not set",
            _ => "0 (zlib) or 1 (zstd)",
        };
        return allowed is null
            ? null
            : Faults.Of(
                FaultCode.HeaderCompressionType, Structure, "compression_type", HeaderLayout.CompressionType,
                (int)CompressionType, allowed);
    }

    private FormatFault? CheckRefcountTable(Qcow2Limits limits) => RefcountTableClusters == 0
        ? Faults.Of(
            FaultCode.HeaderRefcountTable, Structure, "refcount_table_clusters", HeaderLayout.RefcountTableClusters, 0, "at least 1")
        : Faults.CheckTable(
            FaultCode.HeaderRefcountTable, Structure, ("refcount table", HeaderLayout.RefcountTableOffset),
            new StoredTable(RefcountTableOffset, (ulong)RefcountTableClusters << ((int)ClusterBits - 3)),
            (ulong)limits.MaxRefcountTableBytes, (int)ClusterBits);

    private FormatFault? CheckVirtualSize()
    {
        long needed = VirtualSize <= Faults.MaxOffset ? Geometry.L1EntriesFor((long)VirtualSize) : long.MaxValue;
        if (needed > int.MaxValue)
        {
            return Faults.Of(
                FaultCode.HeaderVirtualSize, Structure, "size", HeaderLayout.VirtualSize, VirtualSize,
                "below 2^63, with an L1 table of at most 2^31-1 entries");
        }

        return L1Size >= needed
            ? null
            : Faults.Of(
                FaultCode.HeaderL1Table, Structure, "l1_size", HeaderLayout.L1Size, L1Size,
                $"at least {needed} for a disk of {VirtualSize} bytes");
    }
}
