using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Qcow2Bitmaps.Bitmaps;

/// <summary>Words of bits as the bytes that stand on disk, and back: the order is little endian whatever the machine.</summary>
internal static class LittleEndianWords
{
    /// <summary>The bytes that stand on disk for words; a view of them where the machine's order is the same.</summary>
    public static ReadOnlySpan<byte> BytesOf(ReadOnlySpan<ulong> words)
    {
        if (IsHostOrder)
        {
            return MemoryMarshal.AsBytes(words);
        }

        var swapped = new ulong[words.Length];
        BinaryPrimitives.ReverseEndianness(words, swapped);
        return MemoryMarshal.AsBytes<ulong>(swapped);
    }

    /// <summary>Turns words between the order on disk and the machine's, in place.</summary>
    public static void ToHostOrder(Span<ulong> words)
    {
        if (!IsHostOrder)
        {
            BinaryPrimitives.ReverseEndianness(words, words);
        }
    }

    // BinaryPrimitives says it without naming the host's order, and the compiler folds it.
    private static bool IsHostOrder
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get
        {
            ulong one = 1;
            return BinaryPrimitives.ReadUInt64LittleEndian(MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in one))) == 1;
        }
    }
}
