using System.Buffers.Binary;

namespace Qcow2Bitmaps.Compression;

/// <summary>Writes bits into bytes, least significant first, as deflate has them. RFC 1951, 3.1.1.</summary>
/// <remarks>Stores only what is complete: never more bytes than the bits so far fill.</remarks>
internal ref struct ForwardBitWriter(Span<byte> output)
{
    private const int StoreBits = 32;

    private readonly Span<byte> _output = output;
    private ulong _pending;
    private int _pendingBits;
    private int _stored;

    /// <summary>How many bits have been written.</summary>
    public readonly long Bits => (8L * _stored) + _pendingBits;

    /// <summary>Writes up to 32 bits.</summary>
    /// <param name="value">The bits; those above the count are zero.</param>
    /// <param name="count">How many there are.</param>
    public void Write(uint value, int count)
    {
        unchecked
        {
            _pending |= (ulong)value << _pendingBits;
            _pendingBits += count;
            if (_pendingBits >= StoreBits)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(_output[_stored..], (uint)_pending);
                _stored += sizeof(uint);
                _pending >>= StoreBits;
                _pendingBits -= StoreBits;
            }
        }
    }

    /// <summary>Fills the last byte with zeros and stores what is pending.</summary>
    /// <returns>How many bytes have been written.</returns>
    public int Finish()
    {
        while (_pendingBits > 0)
        {
            _output[_stored++] = unchecked((byte)_pending);
            _pending >>= 8;
            _pendingBits -= 8;
        }

        _pending = 0;
        _pendingBits = 0;
        return _stored;
    }

    /// <summary>Writes bytes as they are, from the next whole byte on.</summary>
    public void WriteBytes(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_output[Finish()..]);
        _stored += bytes.Length;
    }
}
