using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Qcow2Bitmaps.Bitmaps;

/// <summary>Converts words of bits to their bytes on disk and back: the order on disk is little endian on every machine.</summary>
internal static class LittleEndianWords
{
    /// <summary>The bytes of words as on disk; a view of the words if the machine has the same byte order.</summary>
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

    /// <summary>Converts words between the order on disk and the machine's, in place.</summary>
    public static void ToHostOrder(Span<ulong> words)
    {
        if (!IsHostOrder)
        {
            BinaryPrimitives.ReverseEndianness(words, words);
        }
    }

    // BinaryPrimitives tests this without naming the host's order, and the compiler folds it.
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
