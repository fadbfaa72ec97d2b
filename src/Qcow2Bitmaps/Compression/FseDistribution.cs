using System.Numerics;

namespace Qcow2Bitmaps.Compression;

/// <summary>Reads the description of an FSE table. RFC 8878, 4.1.1.</summary>
internal static class FseDistribution
{
    private const int LeastAccuracyLog = 5;

    /// <summary>Reads the probabilities of symbols.</summary>
    /// <param name="input">Where the description starts, to the end of what it may take.</param>
    /// <param name="maxAccuracyLog">The highest logarithm of the table's size that is allowed.</param>
    /// <param name="probabilities">Gets a probability for each symbol, -1 for less than one; as long as there are symbols.</param>
    /// <param name="accuracyLog">The logarithm of the table's size.</param>
    /// <param name="usedBytes">How long the description is.</param>
    /// <returns>Whether it is a description.</returns>
    public static bool TryRead(
        ReadOnlySpan<byte> input, int maxAccuracyLog, Span<short> probabilities, out int accuracyLog, out int usedBytes)
    {
        probabilities.Clear();
        int bit = 0;
        usedBytes = 0;
        accuracyLog = LeastAccuracyLog + Take(input, ref bit, 4);
        if (accuracyLog > maxAccuracyLog)
        {
            return false;
        }

        int remaining = 1 << accuracyLog;
        int symbol = 0;
        while (remaining > 0)
        {
            if (symbol >= probabilities.Length)
            {
                return false;
            }

            int probability = TakeProbability(input, ref bit, remaining);
            probabilities[symbol++] = (short)probability;
            remaining -= Math.Abs(probability);
            if (probability == 0)
            {
                int zeros;
                do
                {
                    zeros = Take(input, ref bit, 2);
                    symbol += zeros;
                }
                while (zeros == 3 && symbol < probabilities.Length);
            }
        }

        usedBytes = (bit + 7) / 8;
        return usedBytes <= input.Length;
    }

    /// <summary>Takes a value from 0 to remaining + 1, of which the low ones take a bit less, and makes it a probability.</summary>
    private static int TakeProbability(ReadOnlySpan<byte> input, ref int bit, int remaining)
    {
        int largest = remaining + 1;
        int bits = BitOperations.Log2((uint)largest) + 1;
        int shortValues = (1 << bits) - 1 - largest;
        int value = Peek(input, bit, bits);
        int low = value & ((1 << (bits - 1)) - 1);
        if (low < shortValues)
        {
            bit += bits - 1;
            return low - 1;
        }

        bit += bits;
        return (value >> (bits - 1) != 0 ? value - shortValues : value) - 1;
    }

    private static int Take(ReadOnlySpan<byte> input, ref int bit, int count)
    {
        int value = Peek(input, bit, count);
        bit += count;
        return value;
    }

    /// <summary>Up to 16 bits, least significant first; zeros behind the end.</summary>
    private static int Peek(ReadOnlySpan<byte> input, int bit, int count)
    {
        int index = bit / 8;
        int value = 0;
        for (int i = 0; i < 3 && index + i < input.Length; i++)
        {
            value |= input[index + i] << (8 * i);
        }

        return (value >> (bit % 8)) & ((1 << count) - 1);
    }
}
