using System.Numerics;
using static System.Buffers.Binary.BinaryPrimitives;

namespace Qcow2Bitmaps.Format;

/// <summary>Reads and writes reference counts of all widths in a refcount block. Spec: "Refcount block entry".</summary>
/// <remarks>Counts below a byte fill it from the least significant bit; wider ones are big-endian. As thread-safe as the spans.</remarks>
internal static class RefcountBlock
{
    /// <summary>Reads one count.</summary>
    /// <param name="block">The block.</param>
    /// <param name="index">The count's index in the block.</param>
    /// <param name="refcountOrder">The width as a power of two in bits, 0 to 6.</param>
    /// <returns>The count.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The index is outside the block, or the order outside 0..6.</exception>
    public static ulong Read(ReadOnlySpan<byte> block, int index, int refcountOrder)
    {
        switch (refcountOrder)
        {
            case 0 or 1 or 2:
                (int at, int shift, int mask) = SubByte(index, refcountOrder);
                return (ulong)((block[at] >> shift) & mask);
            case 3:
                return block[index];
            case 4:
                return ReadUInt16BigEndian(block[(index * sizeof(ushort))..]);
            case 5:
                return ReadUInt32BigEndian(block[(index * sizeof(uint))..]);
            case 6:
                return ReadUInt64BigEndian(block[(index * sizeof(ulong))..]);
            default:
                throw new ArgumentOutOfRangeException(nameof(refcountOrder), refcountOrder, "A refcount order is 0 to 6");
        }
    }

    /// <summary>Writes one count.</summary>
    /// <param name="block">The block.</param>
    /// <param name="index">The count's index in the block.</param>
    /// <param name="refcountOrder">The width as a power of two in bits, 0 to 6.</param>
    /// <param name="count">The count, at most <see cref="MaxCount"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException">An argument is outside its range; nothing is written.</exception>
    public static void Write(Span<byte> block, int index, int refcountOrder, ulong count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, MaxCount(refcountOrder));
        switch (refcountOrder)
        {
            case 0 or 1 or 2:
                (int at, int shift, int mask) = SubByte(index, refcountOrder);
                block[at] = (byte)((block[at] & ~(mask << shift)) | ((int)count << shift));
                break;
            case 3:
                block[index] = (byte)count;
                break;
            case 4:
                WriteUInt16BigEndian(block[(index * sizeof(ushort))..], (ushort)count);
                break;
            case 5:
                WriteUInt32BigEndian(block[(index * sizeof(uint))..], (uint)count);
                break;
            default:
                WriteUInt64BigEndian(block[(index * sizeof(ulong))..], count);
                break;
        }
    }

    /// <summary>The largest count of a width.</summary>
    /// <param name="refcountOrder">The width as a power of two in bits, 0 to 6.</param>
    /// <exception cref="ArgumentOutOfRangeException">The order is outside 0..6.</exception>
    public static ulong MaxCount(int refcountOrder) => refcountOrder is >= 0 and <= Qcow2Header.MaxRefcountOrder
        ? ulong.MaxValue >> (64 - (1 << refcountOrder))
        : throw new ArgumentOutOfRangeException(nameof(refcountOrder), refcountOrder, "A refcount order is 0 to 6");

    /// <summary>Finds the last count that is not zero.</summary>
    /// <param name="block">The block.</param>
    /// <param name="refcountOrder">The width as a power of two in bits, 0 to 6.</param>
    /// <returns>Its index; -1 without one.</returns>
    internal static int FindLastUsed(ReadOnlySpan<byte> block, int refcountOrder)
    {
        int last = block.LastIndexOfAnyExcept((byte)0);
        return last < 0 ? -1 : ((last * 8) + BitOperations.Log2(block[last])) >> refcountOrder;
    }

    private static (int ByteIndex, int Shift, int Mask) SubByte(int index, int order)
    {
        int width = 1 << order;
        int perByte = 8 >> order;
        return (index / perByte, index % perByte * width, (1 << width) - 1);
    }
}
