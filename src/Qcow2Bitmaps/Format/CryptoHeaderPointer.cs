using System.Buffers.Binary;

namespace Qcow2Bitmaps.Format;

/// <summary>Where the LUKS header is. Spec: "Full disk encryption header pointer".</summary>
/// <param name="Offset">Its start, in bytes from the start of the file.</param>
/// <param name="Length">Its length in bytes, key material included.</param>
internal readonly record struct CryptoHeaderPointer(ulong Offset, ulong Length)
{
    /// <summary>Bytes of the extension's data.</summary>
    public const int SizeBytes = 2 * sizeof(ulong);

    private const string Structure = "encryption header pointer";

    /// <summary>Reads the pointer and checks it.</summary>
    /// <param name="source">The data of the extension.</param>
    /// <param name="offset">The offset of the data in the file, for messages.</param>
    /// <param name="clusterBits">The cluster size as a power of two.</param>
    /// <param name="pointer">The pointer.</param>
    /// <param name="fault">Why it is refused.</param>
    /// <returns>Whether it is allowed.</returns>
    public static bool TryRead(
        ReadOnlySpan<byte> source, ulong offset, int clusterBits, out CryptoHeaderPointer pointer, out FormatFault? fault)
    {
        pointer = default;
        if (source.Length != SizeBytes)
        {
            fault = Faults.Of(FaultCode.ExtensionCryptoHeader, Structure, "length", offset, source.Length, $"{SizeBytes} bytes");
            return false;
        }

        pointer = new CryptoHeaderPointer(
            BinaryPrimitives.ReadUInt64BigEndian(source), BinaryPrimitives.ReadUInt64BigEndian(source[sizeof(ulong)..]));
        if (!ImageGeometry.IsClusterAligned(pointer.Offset, clusterBits) || pointer.Offset > Faults.MaxOffset)
        {
            fault = Faults.OfHex(
                FaultCode.ExtensionCryptoHeader, Structure, "offset", offset, pointer.Offset,
                $"a multiple of {1UL << clusterBits} below 2^63");
            return false;
        }

        fault = pointer.Length < LuksHeader.SizeBytes
            ? Faults.Of(
                FaultCode.ExtensionCryptoHeader, Structure, "header length", offset + sizeof(ulong), pointer.Length,
                $"at least {LuksHeader.SizeBytes} bytes")
            : null;
        return fault is null;
    }

    /// <summary>Writes the pointer.</summary>
    /// <param name="destination">At least <see cref="SizeBytes"/> bytes.</param>
    public void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt64BigEndian(destination, Offset);
        BinaryPrimitives.WriteUInt64BigEndian(destination[sizeof(ulong)..], Length);
    }
}
