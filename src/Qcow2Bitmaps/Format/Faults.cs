using System.Globalization;

namespace Qcow2Bitmaps.Format;

/// <summary>Makes faults, so that decoders read as lists of rules.</summary>
internal static class Faults
{
    /// <summary>The largest offset that QEMU accepts: 2^63-1.</summary>
    public const ulong MaxOffset = long.MaxValue;

    public static FormatFault Of(FaultCode code, string structure, string field, ulong offset, ulong found, string allowed) =>
        new(code, structure, field, offset, found.ToString(CultureInfo.InvariantCulture), allowed);

    public static FormatFault Of(FaultCode code, string structure, string field, ulong offset, long found, string allowed) =>
        new(code, structure, field, offset, found.ToString(CultureInfo.InvariantCulture), allowed);

    public static FormatFault OfHex(FaultCode code, string structure, string field, ulong offset, ulong found, string allowed) =>
        new(code, structure, field, offset, "0x" + found.ToString("x", CultureInfo.InvariantCulture), allowed);

    /// <summary>The rules for a table that lies in clusters of its own: its size, then its alignment and the range of offsets.</summary>
    /// <remarks>QEMU's order: too many entries first, then the offset.</remarks>
    /// <param name="code">The code of what it says.</param>
    /// <param name="structure">The structure that names the table.</param>
    /// <param name="field">What the table is, and where the structure names it, in bytes from the start of the file.</param>
    /// <param name="table">The table.</param>
    /// <param name="maxBytes">The most that it may take.</param>
    /// <param name="clusterBits">The cluster size as a power of two.</param>
    public static FormatFault? CheckTable(
        FaultCode code, string structure, (string Name, ulong Offset) field, StoredTable table, ulong maxBytes, int clusterBits)
    {
        if (table.Entries > maxBytes / table.EntryBytes)
        {
            return Of(
                code, structure, field.Name + " entries", field.Offset, table.Entries,
                $"at most {maxBytes / table.EntryBytes} ({maxBytes} bytes)");
        }

        ulong bytes = table.Entries * table.EntryBytes;
        if (table.Offset > MaxOffset - bytes || !ImageGeometry.IsClusterAligned(table.Offset, clusterBits))
        {
            return OfHex(
                code, structure, field.Name + " offset", field.Offset, table.Offset,
                $"a multiple of {1UL << clusterBits} whose table ends below 2^63");
        }

        return null;
    }
}
