using static System.Buffers.Binary.BinaryPrimitives;

namespace Qcow2Bitmaps.Format;

/// <summary>The bitmaps extension: how many bitmaps there are and where their directory is. Spec: "Bitmaps extension".</summary>
/// <param name="BitmapCount">The number of bitmaps.</param>
/// <param name="Reserved">A field that must be zero.</param>
/// <param name="DirectorySizeBytes">The directory's length in bytes: the sum of its entries, exactly.</param>
/// <param name="DirectoryOffset">Where the directory starts, in bytes from the start of the file.</param>
internal readonly record struct BitmapsExtension(uint BitmapCount, uint Reserved, ulong DirectorySizeBytes, ulong DirectoryOffset)
{
    /// <summary>Bytes of the extension's data.</summary>
    public const int SizeBytes = 24;

    private const int CountField = 0;
    private const int ReservedField = CountField + sizeof(uint);
    private const int DirectorySizeField = ReservedField + sizeof(uint);
    private const int DirectoryOffsetField = DirectorySizeField + sizeof(ulong);
    private const string Structure = "bitmaps extension";

    /// <summary>Reads the extension; its values are checked by <see cref="CheckFaults"/>.</summary>
    /// <param name="source">The data of the extension.</param>
    /// <param name="offset">The offset of the data in the file, for messages.</param>
    /// <param name="extension">The extension.</param>
    /// <param name="fault">Why it cannot be read.</param>
    /// <returns>Whether the length is right.</returns>
    public static bool TryRead(ReadOnlySpan<byte> source, ulong offset, out BitmapsExtension extension, out FormatFault? fault)
    {
        if (source.Length != SizeBytes)
        {
            extension = default;
            fault = Faults.Of(FaultCode.BitmapsExtensionLength, Structure, "length", offset, source.Length, $"{SizeBytes} bytes");
            return false;
        }

        extension = new BitmapsExtension(
            ReadUInt32BigEndian(source),
            ReadUInt32BigEndian(source[ReservedField..]),
            ReadUInt64BigEndian(source[DirectorySizeField..]),
            ReadUInt64BigEndian(source[DirectoryOffsetField..]));
        fault = null;
        return true;
    }

    /// <summary>Lists what is wrong with the values, in QEMU's order.</summary>
    /// <param name="offset">The offset of the data in the file, for messages.</param>
    /// <param name="clusterBits">The cluster size as a power of two.</param>
    /// <param name="limits">The limits to apply.</param>
    public IEnumerable<FormatFault> CheckFaults(ulong offset, int clusterBits, Qcow2Limits limits)
    {
        ArgumentNullException.ThrowIfNull(limits);
        return EnumerateFaults(offset, clusterBits, limits);
    }

    /// <summary>Writes the extension's data.</summary>
    /// <param name="destination">At least <see cref="SizeBytes"/> bytes.</param>
    public void Write(Span<byte> destination)
    {
        WriteUInt32BigEndian(destination, BitmapCount);
        WriteUInt32BigEndian(destination[ReservedField..], Reserved);
        WriteUInt64BigEndian(destination[DirectorySizeField..], DirectorySizeBytes);
        WriteUInt64BigEndian(destination[DirectoryOffsetField..], DirectoryOffset);
    }

    private IEnumerable<FormatFault> EnumerateFaults(ulong offset, int clusterBits, Qcow2Limits limits)
    {
        if (Reserved != 0)
        {
            yield return Faults.OfHex(
                FaultCode.BitmapsExtensionReserved, Structure, "reserved field", offset + ReservedField, Reserved, "0");
        }

        if (BitmapCount == 0 || BitmapCount > (uint)limits.MaxBitmaps)
        {
            yield return Faults.Of(
                FaultCode.BitmapsExtensionCount, Structure, "nb_bitmaps", offset, BitmapCount, $"1 to {limits.MaxBitmaps}");
        }

        if (DirectoryOffset == 0 || !ImageGeometry.IsClusterAligned(DirectoryOffset, clusterBits) || DirectoryOffset > Faults.MaxOffset)
        {
            yield return Faults.OfHex(
                FaultCode.BitmapsExtensionDirectoryOffset, Structure, "bitmap_directory_offset", offset + DirectoryOffsetField,
                DirectoryOffset, $"a multiple of {1UL << clusterBits} above 0 and below 2^63");
        }

        if (DirectorySizeBytes == 0 || DirectorySizeBytes > (ulong)limits.MaxBitmapDirectoryBytes)
        {
            yield return Faults.Of(
                FaultCode.BitmapsExtensionDirectorySize, Structure, "bitmap_directory_size", offset + DirectorySizeField,
                DirectorySizeBytes, $"1 to {limits.MaxBitmapDirectoryBytes} bytes");
        }
    }
}
