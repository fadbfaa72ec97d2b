using Qcow2Bitmaps.Format;
using static Qcow2Bitmaps.Tests.Hostile.Expected;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Headers that lie: numbers 1 to 13 and 23 of the list of hostile images.</summary>
internal static class HostileHeaders
{
    private const ulong HighBit = 1UL << 63;

    public static IEnumerable<HostileCase> All() => [.. Starts(), .. Sizes(), .. Tables(), .. Features(), .. BackingNames()];

    private static IEnumerable<HostileCase> Starts()
    {
        yield return Fatal("empty file", static () => [], FaultCode.HeaderMagic);
        yield return Fatal("50 bytes of zeros", static () => new byte[50], FaultCode.HeaderMagic);
        yield return Fatal("magic only", static () => Patched.Usual().Bytes[..4], FaultCode.HeaderTruncated);
        yield return Fatal("magic and version only", static () => Patched.Usual().Bytes[..8], FaultCode.HeaderTruncated);
        yield return Fatal("50 bytes of a header", static () => Patched.Usual().Bytes[..50], FaultCode.HeaderTruncated);
        yield return Fatal("71 bytes of a header of version 2", static () => Version2().Bytes[..71], FaultCode.HeaderTruncated);
        // As in QEMU, what is missing reads as zeros, and so does the header's length.
        yield return Fatal("90 bytes of a header", static () => Patched.Usual().Bytes[..90], FaultCode.HeaderLength);
        yield return Fatal("magic of another format", static () => Patched.Usual().U32(0, 0x514649FA).Bytes, FaultCode.HeaderMagic);
        foreach (uint version in new uint[] { 0, 1, 4, uint.MaxValue })
        {
            yield return Fatal(
                $"version {version}", () => Patched.Usual().U32(HeaderLayout.Version, version).Bytes, FaultCode.HeaderVersion);
        }

        foreach (uint length in new uint[] { 0, 103, 4097, 65536, uint.MaxValue })
        {
            yield return Fatal(
                $"header_length {length}", () => Patched.Usual().U32(HeaderLayout.HeaderLength, length).Bytes, FaultCode.HeaderLength);
        }
    }

    private static IEnumerable<HostileCase> Sizes()
    {
        foreach (uint bits in new uint[] { 0, 8, 22, 31, 32, 63, 64, uint.MaxValue })
        {
            yield return Fatal(
                $"cluster_bits {bits}", () => Patched.Usual().U32(HeaderLayout.ClusterBits, bits).Bytes, FaultCode.HeaderClusterBits);
        }

        foreach (ulong size in new ulong[] { HighBit, ulong.MaxValue, HighBit - 1 })
        {
            yield return Fatal(
                $"size 0x{size:x}", () => Patched.Usual().U64(HeaderLayout.VirtualSize, size).Bytes, FaultCode.HeaderVirtualSize);
            yield return new HostileCase(
                $"size 0x{size:x} and an unaligned L1 table",
                () => Patched.Usual().U64(HeaderLayout.VirtualSize, size).U64(HeaderLayout.L1TableOffset, 1),
                FaultCode.HeaderL1Table,
                Refused,
                // A disk whose size is no number that we can compute with is refused however lenient the reader.
                Refused)
            { LenientCode = FaultCode.HeaderVirtualSize };
        }

        yield return Noted(
            "size 2^50 with a small L1 table", static () => Patched.Usual().U64(HeaderLayout.VirtualSize, 1UL << 50),
            FaultCode.HeaderL1Table);
        yield return Noted(
            "size 0 with bitmaps of another size", static () => Patched.Usual().U64(HeaderLayout.VirtualSize, 0),
            FaultCode.BitmapTableSize);
        yield return Accepted("size 0 without bitmaps", static () => Patched.WithoutBitmaps().U64(HeaderLayout.VirtualSize, 0));
    }

    private static IEnumerable<HostileCase> Tables()
    {
        foreach (uint entries in new uint[] { 0, 4194305, uint.MaxValue })
        {
            yield return Noted($"l1_size {entries}", () => Patched.Usual().U32(HeaderLayout.L1Size, entries), FaultCode.HeaderL1Table);
        }

        foreach (ulong offset in new ulong[] { 1, 0x3001, HighBit, ulong.MaxValue & ~0xfffUL })
        {
            yield return Noted(
                $"l1_table_offset 0x{offset:x}", () => Patched.Usual().U64(HeaderLayout.L1TableOffset, offset), FaultCode.HeaderL1Table);
            yield return Noted(
                $"refcount_table_offset 0x{offset:x}", () => Patched.Usual().U64(HeaderLayout.RefcountTableOffset, offset),
                FaultCode.HeaderRefcountTable);
            yield return Noted(
                $"snapshots_offset 0x{offset:x}", () => Patched.Usual().U64(HeaderLayout.SnapshotsOffset, offset),
                FaultCode.HeaderSnapshotTable);
        }

        foreach (ulong offset in new ulong[] { 0, 1UL << 40 })
        {
            // Neither table is needed to read the metadata, and QEMU reads zeros behind the file's end.
            yield return Accepted($"l1_table_offset 0x{offset:x}", () => Patched.Usual().U64(HeaderLayout.L1TableOffset, offset));
            yield return Accepted(
                $"refcount_table_offset 0x{offset:x}", () => Patched.Usual().U64(HeaderLayout.RefcountTableOffset, offset));
        }

        foreach (uint clusters in new uint[] { 0, 2049, 1U << 23, uint.MaxValue })
        {
            yield return Noted(
                $"refcount_table_clusters {clusters}", () => Patched.Usual().U32(HeaderLayout.RefcountTableClusters, clusters),
                FaultCode.HeaderRefcountTable);
        }

        foreach (uint order in new uint[] { 7, 64, uint.MaxValue })
        {
            yield return Noted(
                $"refcount_order {order}", () => Patched.Usual().U32(HeaderLayout.RefcountOrder, order), FaultCode.HeaderRefcountOrder);
        }
    }

    private static IEnumerable<HostileCase> Features()
    {
        foreach (ulong bits in new ulong[] { 1UL << 5, 1UL << 63, ~0UL })
        {
            yield return new HostileCase(
                $"incompatible features 0x{bits:x}", () => Patched.Usual().U64(HeaderLayout.IncompatibleFeatures, bits),
                FaultCode.HeaderUnknownFeature, Unsupported, Expected.Noted);
        }

        yield return Accepted("dirty and corrupt bit", static () => Patched.Usual().U64(HeaderLayout.IncompatibleFeatures, 3));
        yield return Noted(
            "extended L2 bit with clusters of 4 KiB", static () => Patched.Usual().U64(HeaderLayout.IncompatibleFeatures, 1 << 4),
            FaultCode.HeaderClusterBits);
        yield return Accepted(
            "extended L2 bit that lies",
            static () =>
                new Patched(new Support.TestImage(clusterBits: 16).WithBitmap("a")).U64(HeaderLayout.IncompatibleFeatures, 1 << 4));
        yield return Noted(
            "compression bit with type 0", static () => Patched.Usual().U64(HeaderLayout.IncompatibleFeatures, 1 << 3),
            FaultCode.HeaderCompressionType);
        yield return Noted(
            "compression type 1 without the bit", static () => Patched.Usual().U8(HeaderLayout.CompressionType, 1),
            FaultCode.HeaderCompressionType);
        yield return Noted(
            "compression type 2", static () => Patched.Usual().U8(HeaderLayout.CompressionType, 2), FaultCode.HeaderCompressionType);
        yield return Noted(
            "compression type 255 with the bit",
            static () => Patched.Usual().U64(HeaderLayout.IncompatibleFeatures, 1 << 3).U8(HeaderLayout.CompressionType, 255),
            FaultCode.HeaderCompressionType);
        yield return Noted("crypt_method 3", static () => Patched.Usual().U32(HeaderLayout.CryptMethod, 3), FaultCode.HeaderCryptMethod);
        yield return Noted(
            "crypt_method 2^32-1", static () => Patched.Usual().U32(HeaderLayout.CryptMethod, uint.MaxValue), FaultCode.HeaderCryptMethod);
        yield return Noted(
            "crypt_method 2 without a LUKS header", static () => Patched.Usual().U32(HeaderLayout.CryptMethod, 2),
            FaultCode.ExtensionCryptoHeader);
    }

    private static IEnumerable<HostileCase> BackingNames()
    {
        foreach (uint size in new uint[] { 1024, uint.MaxValue })
        {
            yield return Noted(
                $"backing_file_size {size}", () => Backed().U32(HeaderLayout.BackingFileSize, size), FaultCode.HeaderBackingFileSize);
        }

        foreach (ulong offset in new ulong[] { 4097, 1UL << 40, HighBit, ulong.MaxValue })
        {
            yield return Noted(
                $"backing_file_offset 0x{offset:x}", () => Backed().U64(HeaderLayout.BackingFileOffset, offset),
                FaultCode.HeaderBackingFileOffset);
        }

        yield return Noted(
            "backing name that runs out of the cluster", static () => Backed().U64(HeaderLayout.BackingFileOffset, 4096 - 3),
            FaultCode.HeaderBackingFileSize);
        yield return Noted(
            "backing name at the cluster's end", static () => Backed().U64(HeaderLayout.BackingFileOffset, 4096),
            FaultCode.HeaderBackingFileSize);
        yield return Accepted("backing name inside the header", static () => Backed().U64(HeaderLayout.BackingFileOffset, 8));
        yield return Accepted(
            "backing name behind the file's end",
            static () => Backed().U64(HeaderLayout.BackingFileOffset, 4000).U64(HeaderLayout.AutoclearFeatures, 0).Resize(600));
        yield return Accepted("backing_file_size 0", static () => Backed().U32(HeaderLayout.BackingFileSize, 0));
    }

    private static Patched Backed() => new(new Support.TestImage { BackingFile = "base.raw" }.WithBitmap("a"));

    /// <summary>Version 2 ends at byte 72, where the image's feature words read as the end of its extensions.</summary>
    private static Patched Version2() => Patched.WithoutBitmaps().U32(HeaderLayout.Version, 2);

    private static HostileCase Fatal(string name, Func<byte[]> build, FaultCode code) => new(name, build, code, Refused, Refused);

    private static HostileCase Noted(string name, Func<Patched> build, FaultCode code) => new(name, build, code, Refused, Expected.Noted);

    private static HostileCase Accepted(string name, Func<Patched> build) =>
        new(name, build, FaultCode.None, Expected.Accepted, Expected.Accepted);
}
