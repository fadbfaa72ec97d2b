using System.Buffers.Binary;

namespace Qcow2Bitmaps.Format;

/// <summary>Walks the header extensions of a first cluster without allocating. Usable with <c>foreach</c>.</summary>
/// <remarks>
/// Ends at the end marker, at the end of the area, or at a fault, which <see cref="Fault"/> then holds. QEMU checks the end
/// marker's length as well. Unknown types are passed on; duplicates too.
/// </remarks>
internal ref struct HeaderExtensionEnumerator
{
    private readonly ReadOnlySpan<byte> _cluster;
    private readonly int _end;
    private int _position;
    private bool _ended;

    /// <summary>Starts after the header.</summary>
    /// <param name="cluster">The first cluster, or its start up to <paramref name="areaEnd"/>.</param>
    /// <param name="headerLength">The header's length in bytes.</param>
    /// <param name="areaEnd">Where the area ends: <see cref="Qcow2Header.ExtensionAreaEnd"/>.</param>
    public HeaderExtensionEnumerator(ReadOnlySpan<byte> cluster, uint headerLength, ulong areaEnd)
    {
        _cluster = cluster;
        _position = (int)headerLength;
        _end = (int)Math.Min(areaEnd, (ulong)cluster.Length);
    }

    /// <summary>The extension that the last <see cref="MoveNext"/> found.</summary>
    public HeaderExtension Current { get; private set; }

    /// <summary>Why the walk ended early; null when it did not.</summary>
    public FormatFault? Fault { get; private set; }

    /// <summary>Where the bytes after the last extension start: after the end marker once the enumeration is over.</summary>
    public readonly int Position => _position;

    /// <summary>Whether the enumeration has reached an end marker.</summary>
    public bool HasEndMarker { get; private set; }

    /// <summary>Returns itself, for <c>foreach</c>.</summary>
    public readonly HeaderExtensionEnumerator GetEnumerator() => this;

    /// <summary>Steps to the next extension.</summary>
    /// <returns>False at the end marker, at the end of the area, and at a fault.</returns>
    public bool MoveNext()
    {
        if (_ended || _position >= _end)
        {
            return false;
        }

        if (_end - _position < HeaderExtension.HeaderBytes)
        {
            return Fail("header", (ulong)_position, HeaderExtension.HeaderBytes, _end - _position);
        }

        ReadOnlySpan<byte> at = _cluster[_position..];
        var type = (HeaderExtensionType)BinaryPrimitives.ReadUInt32BigEndian(at);
        uint length = BinaryPrimitives.ReadUInt32BigEndian(at[sizeof(uint)..]);
        int dataOffset = _position + HeaderExtension.HeaderBytes;
        if (length > (uint)(_end - dataOffset))
        {
            return Fail("length", (ulong)_position + sizeof(uint), length, _end - dataOffset);
        }

        if (type == HeaderExtensionType.End)
        {
            _position = dataOffset;
            _ended = true;
            HasEndMarker = true;
            return false;
        }

        Current = new HeaderExtension(type, _cluster.Slice(dataOffset, (int)length), dataOffset);
        _position += HeaderExtension.SizeBytes((int)length);
        return true;
    }

    private bool Fail(string field, ulong offset, ulong needed, int available)
    {
        _ended = true;
        Fault = Faults.Of(
            FaultCode.ExtensionTooLarge, "header extension", field, offset, needed,
            $"at most {available} bytes, up to the end of the extension area at 0x{_end:x}");
        return false;
    }
}
