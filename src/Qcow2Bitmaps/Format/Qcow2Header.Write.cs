using Qcow2Bitmaps.Format;

using static System.Buffers.Binary.BinaryPrimitives;

namespace Qcow2Bitmaps;

public sealed partial record Qcow2Header
{
    /// <summary>Writes the header, <see cref="HeaderLength"/> bytes.</summary>
    /// <param name="destination">Where to write; bytes after the header are not changed.</param>
    /// <returns>The number of bytes written.</returns>
    /// <exception cref="ArgumentException">The destination is too short, or <see cref="TrailingBytes"/> ends before the header.</exception>
    internal int Write(Span<byte> destination)
    {
        int length = (int)HeaderLength;
        if (destination.Length < length)
        {
            throw new ArgumentException($"The header needs {length} bytes, {destination.Length} are there.", nameof(destination));
        }

        int trailing = Math.Max(length - HeaderLayout.Padding, 0);
        if (Version == 3 && TrailingBytes.Length > trailing)
        {
            throw new ArgumentException(
                PrintableMessage.Of($"{TrailingBytes.Length} trailing bytes do not fit a header of {length} bytes."), nameof(destination));
        }

        destination[..length].Clear();
        WriteUInt32BigEndian(destination, MagicNumber);
        WriteUInt32BigEndian(destination[HeaderLayout.Version..], (uint)Version);
        WriteUInt64BigEndian(destination[HeaderLayout.BackingFileOffset..], BackingFileOffset);
        WriteUInt32BigEndian(destination[HeaderLayout.BackingFileSize..], BackingFileSize);
        WriteUInt32BigEndian(destination[HeaderLayout.ClusterBits..], ClusterBits);
        WriteUInt64BigEndian(destination[HeaderLayout.VirtualSize..], VirtualSize);
        WriteUInt32BigEndian(destination[HeaderLayout.CryptMethod..], CryptMethod);
        WriteUInt32BigEndian(destination[HeaderLayout.L1Size..], L1Size);
        WriteUInt64BigEndian(destination[HeaderLayout.L1TableOffset..], L1TableOffset);
        WriteUInt64BigEndian(destination[HeaderLayout.RefcountTableOffset..], RefcountTableOffset);
        WriteUInt32BigEndian(destination[HeaderLayout.RefcountTableClusters..], RefcountTableClusters);
        WriteUInt32BigEndian(destination[HeaderLayout.SnapshotCount..], SnapshotCount);
        WriteUInt64BigEndian(destination[HeaderLayout.SnapshotsOffset..], SnapshotsOffset);
        if (Version == 2)
        {
            return length;
        }

        WriteUInt64BigEndian(destination[HeaderLayout.IncompatibleFeatures..], (ulong)IncompatibleFeatures);
        WriteUInt64BigEndian(destination[HeaderLayout.CompatibleFeatures..], (ulong)CompatibleFeatures);
        WriteUInt64BigEndian(destination[HeaderLayout.AutoclearFeatures..], (ulong)AutoclearFeatures);
        WriteUInt32BigEndian(destination[HeaderLayout.RefcountOrder..], RefcountOrder);
        WriteUInt32BigEndian(destination[HeaderLayout.HeaderLength..], HeaderLength);
        if (length > HeaderLayout.CompressionType)
        {
            destination[HeaderLayout.CompressionType] = (byte)CompressionType;
            TrailingBytes.Span.CopyTo(destination[HeaderLayout.Padding..]);
        }

        return length;
    }
}
