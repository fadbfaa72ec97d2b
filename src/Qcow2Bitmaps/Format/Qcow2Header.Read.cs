using Qcow2Bitmaps.Format;

using static System.Buffers.Binary.BinaryPrimitives;

namespace Qcow2Bitmaps;

public sealed partial record Qcow2Header
{
    private const string Structure = "header";

    /// <summary>Reads the header from the start of an image.</summary>
    /// <param name="source">The image's first bytes, at least the header's length; otherwise the header counts as truncated.</param>
    /// <param name="header">The header, even if <see cref="Check"/> would refuse it; null when it cannot be read at all.</param>
    /// <param name="fault">Why it cannot be read.</param>
    /// <returns>Whether the bytes could be taken apart; their values are checked by <see cref="Check"/>.</returns>
    internal static bool TryRead(ReadOnlySpan<byte> source, out Qcow2Header? header, out FormatFault? fault)
    {
        fault = Decode(source, out header);
        return fault is null;
    }

    private static FormatFault? Decode(ReadOnlySpan<byte> source, out Qcow2Header? header)
    {
        header = null;
        uint magic = source.Length < sizeof(uint) ? 0 : ReadUInt32BigEndian(source);
        if (magic != MagicNumber)
        {
            return Faults.OfHex(
                FaultCode.HeaderMagic, Structure, "magic", HeaderLayout.Magic, magic, $"0x{MagicNumber:x}: this is no qcow2 image");
        }

        if (source.Length < HeaderLayout.BackingFileOffset)
        {
            return Truncated(source.Length, HeaderLayout.Version2Length);
        }

        uint version = ReadUInt32BigEndian(source[HeaderLayout.Version..]);
        if (version is not (2 or 3))
        {
            return Faults.Of(FaultCode.HeaderVersion, Structure, "version", HeaderLayout.Version, version, "2 or 3");
        }

        int fixedLength = version == 2 ? HeaderLayout.Version2Length : HeaderLayout.MinVersion3Length;
        if (source.Length < fixedLength)
        {
            return Truncated(source.Length, fixedLength);
        }

        uint clusterBits = ReadUInt32BigEndian(source[HeaderLayout.ClusterBits..]);
        if (clusterBits is < ImageGeometry.MinClusterBits or > ImageGeometry.MaxClusterBits)
        {
            return Faults.Of(
                FaultCode.HeaderClusterBits, Structure, "cluster_bits", HeaderLayout.ClusterBits, clusterBits,
                "9 to 21 (512 bytes to 2 MiB)");
        }

        uint headerLength = version == 2 ? HeaderLayout.Version2Length : ReadUInt32BigEndian(source[HeaderLayout.HeaderLength..]);
        if (headerLength < fixedLength || headerLength > 1U << (int)clusterBits)
        {
            return Faults.Of(
                FaultCode.HeaderLength, Structure, "header_length", HeaderLayout.HeaderLength, headerLength,
                $"{fixedLength} to the cluster size, {1U << (int)clusterBits}");
        }

        if (source.Length < headerLength)
        {
            return Truncated(source.Length, (int)headerLength);
        }

        header = new Qcow2Header
        {
            Version = (int)version,
            BackingFileOffset = ReadUInt64BigEndian(source[HeaderLayout.BackingFileOffset..]),
            BackingFileSize = ReadUInt32BigEndian(source[HeaderLayout.BackingFileSize..]),
            ClusterBits = clusterBits,
            VirtualSize = ReadUInt64BigEndian(source[HeaderLayout.VirtualSize..]),
            CryptMethod = ReadUInt32BigEndian(source[HeaderLayout.CryptMethod..]),
            L1Size = ReadUInt32BigEndian(source[HeaderLayout.L1Size..]),
            L1TableOffset = ReadUInt64BigEndian(source[HeaderLayout.L1TableOffset..]),
            RefcountTableOffset = ReadUInt64BigEndian(source[HeaderLayout.RefcountTableOffset..]),
            RefcountTableClusters = ReadUInt32BigEndian(source[HeaderLayout.RefcountTableClusters..]),
            SnapshotCount = ReadUInt32BigEndian(source[HeaderLayout.SnapshotCount..]),
            SnapshotsOffset = ReadUInt64BigEndian(source[HeaderLayout.SnapshotsOffset..]),
            HeaderLength = headerLength,
        };
        if (version == 2)
        {
            return null;
        }

        bool hasCompressionType = headerLength > HeaderLayout.CompressionType;
        header = header with
        {
            IncompatibleFeatures = (IncompatibleFeatures)ReadUInt64BigEndian(source[HeaderLayout.IncompatibleFeatures..]),
            CompatibleFeatures = (CompatibleFeatures)ReadUInt64BigEndian(source[HeaderLayout.CompatibleFeatures..]),
            AutoclearFeatures = (AutoclearFeatures)ReadUInt64BigEndian(source[HeaderLayout.AutoclearFeatures..]),
            RefcountOrder = ReadUInt32BigEndian(source[HeaderLayout.RefcountOrder..]),
            CompressionType = hasCompressionType ? (CompressionType)source[HeaderLayout.CompressionType] : CompressionType.Zlib,
            TrailingBytes = hasCompressionType ? source[HeaderLayout.Padding..(int)headerLength].ToArray() : default,
        };
        return null;
    }

    private static FormatFault Truncated(int found, int needed) =>
        Faults.Of(FaultCode.HeaderTruncated, Structure, "bytes of the header", 0, found, $"at least {needed}");
}
