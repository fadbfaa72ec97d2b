using System.Globalization;

namespace Qcow2Bitmaps.Format;

/// <summary>Makes faults, so that decoders read as lists of rules.</summary>
internal static class Faults
{
    /// <summary>The largest offset that QEMU takes: signed 63 bits.</summary>
    public const ulong MaxOffset = long.MaxValue;

    public static FormatFault Of(FaultCode code, string structure, string field, ulong offset, ulong found, string allowed) =>
        new(code, structure, field, offset, found.ToString(CultureInfo.InvariantCulture), allowed);

    public static FormatFault Of(FaultCode code, string structure, string field, ulong offset, long found, string allowed) =>
        new(code, structure, field, offset, found.ToString(CultureInfo.InvariantCulture), allowed);

    public static FormatFault OfHex(FaultCode code, string structure, string field, ulong offset, ulong found, string allowed) =>
        new(code, structure, field, offset, "0x" + found.ToString("x", CultureInfo.InvariantCulture), allowed);

    /// <summary>The rules for a table that lies in clusters of its own: its size, then its alignment and the range of offsets.</summary>
    /// <remarks>QEMU's order: too many entries first, then the offset.</remarks>
    public static FormatFault? CheckTable(
        FaultCode code, string structure, string field, ulong fieldOffset, ulong tableOffset, ulong entries, ulong entryBytes,
        ulong maxBytes, int clusterBits)
    {
        if (entries > maxBytes / entryBytes)
        {
            return Of(code, structure, field + " entries", fieldOffset, entries, $"at most {maxBytes / entryBytes} ({maxBytes} bytes)");
        }

        ulong bytes = entries * entryBytes;
        if (tableOffset > MaxOffset - bytes || !ImageGeometry.IsClusterAligned(tableOffset, clusterBits))
        {
            return OfHex(
                code, structure, field + " offset", fieldOffset, tableOffset,
                $"a multiple of {1UL << clusterBits} whose table ends below 2^63");
        }

        return null;
    }
}
