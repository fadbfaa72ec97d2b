using System.Buffers.Binary;

namespace Qcow2Bitmaps.Format;

/// <summary>Writes header extensions one after the other, padded with zeros, and the end marker.</summary>
internal ref struct HeaderExtensionWriter
{
    private readonly Span<byte> _destination;

    /// <summary>Starts at the first byte of a destination.</summary>
    /// <param name="destination">The area after the header, up to the end of the first cluster.</param>
    public HeaderExtensionWriter(Span<byte> destination) => _destination = destination;

    /// <summary>The number of bytes written so far.</summary>
    public int BytesWritten { get; private set; }

    /// <summary>Writes one extension.</summary>
    /// <param name="type">Its type.</param>
    /// <param name="data">Its data.</param>
    /// <returns>Whether there was room; without room nothing is written.</returns>
    public bool TryWrite(HeaderExtensionType type, ReadOnlySpan<byte> data)
    {
        int size = HeaderExtension.SizeBytes(data.Length);
        if (_destination.Length - BytesWritten < size)
        {
            return false;
        }

        Span<byte> at = _destination.Slice(BytesWritten, size);
        at.Clear();
        BinaryPrimitives.WriteUInt32BigEndian(at, (uint)type);
        BinaryPrimitives.WriteUInt32BigEndian(at[sizeof(uint)..], (uint)data.Length);
        data.CopyTo(at[HeaderExtension.HeaderBytes..]);
        BytesWritten += size;
        return true;
    }

    /// <summary>Writes the end marker.</summary>
    /// <returns>Whether there was room; without room nothing is written.</returns>
    public bool TryWriteEnd() => TryWrite(HeaderExtensionType.End, []);
}
