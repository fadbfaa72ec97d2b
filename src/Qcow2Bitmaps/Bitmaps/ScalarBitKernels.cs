using System.Numerics;

namespace Qcow2Bitmaps.Bitmaps;

/// <summary>The kernels without vectors or special instructions: the fallback, and the reference for tests.</summary>
internal static class ScalarBitKernels
{
    public static void Or(Span<ulong> destination, ReadOnlySpan<ulong> source)
    {
        for (int i = 0; i < destination.Length; i++)
        {
            destination[i] |= source[i];
        }
    }

    public static void And(Span<ulong> destination, ReadOnlySpan<ulong> source)
    {
        for (int i = 0; i < destination.Length; i++)
        {
            destination[i] &= source[i];
        }
    }

    public static void AndNot(Span<ulong> destination, ReadOnlySpan<ulong> source)
    {
        for (int i = 0; i < destination.Length; i++)
        {
            destination[i] &= ~source[i];
        }
    }

    public static long Count(ReadOnlySpan<ulong> words)
    {
        long count = 0;
        foreach (ulong word in words)
        {
            count += BitOperations.PopCount(word);
        }

        return count;
    }

    public static ulong Spread(ulong bits, int shift)
    {
        ulong run = (1UL << (1 << shift)) - 1;
        ulong result = 0;
        for (ulong rest = bits & ((1UL << (64 >> shift)) - 1); rest != 0; rest &= rest - 1)
        {
            result |= run << (BitOperations.TrailingZeroCount(rest) << shift);
        }

        return result;
    }

    public static ulong Gather(ulong word, int shift)
    {
        ulong run = (1UL << (1 << shift)) - 1;
        ulong result = 0;
        for (int bit = 0; bit < 64 >> shift; bit++)
        {
            result |= (word >> (bit << shift) & run) != 0 ? 1UL << bit : 0;
        }

        return result;
    }

    public static void OrSpread(Span<ulong> destination, ReadOnlySpan<ulong> source, int shift)
    {
        int perWord = 1 << shift;
        for (int i = 0; i < source.Length * perWord; i++)
        {
            destination[i] |= Spread(source[i / perWord] >> (i % perWord * (64 >> shift)), shift);
        }
    }

    public static void OrGathered(Span<ulong> destination, ReadOnlySpan<ulong> source, int shift)
    {
        int perWord = 1 << shift;
        for (int i = 0; i < destination.Length * perWord; i++)
        {
            destination[i / perWord] |= Gather(source[i], shift) << (i % perWord * (64 >> shift));
        }
    }
}
