using System.Numerics;

namespace Qcow2Bitmaps.Compression;

/// <summary>Reads the weights that describe a Huffman tree. RFC 8878, 4.2.1.</summary>
internal sealed class HuffmanTree
{
    /// <summary>The longest code, in bits.</summary>
    public const int MaxBits = 11;

    private const int MaxSymbols = 256;
    private const int MaxWeightAccuracyLog = 6;

    private readonly FseTable _weightTable = new(MaxWeightAccuracyLog);
    private readonly byte[] _weights = new byte[MaxSymbols];

    // Each symbol of the table is a weight; one that no tree of MaxBits can have is refused later.
    private static readonly ulong[] s_weightMeanings = [.. Enumerable.Range(0, MaxBits + 2).Select(static weight => (ulong)weight << 32)];

    /// <summary>The weight of each symbol; 0 for one without a code.</summary>
    public ReadOnlySpan<byte> Weights => _weights.AsSpan(0, SymbolCount);

    /// <summary>The number of symbols up to the last one with a code.</summary>
    public int SymbolCount { get; private set; }

    /// <summary>The longest code of this tree, in bits.</summary>
    public int LongestBits { get; private set; }

    /// <summary>Reads the description of a complete tree.</summary>
    /// <param name="input">Where the description starts, to the end of what it may take.</param>
    /// <param name="usedBytes">How long it is.</param>
    /// <returns>Whether it describes a tree.</returns>
    public bool TryRead(ReadOnlySpan<byte> input, out int usedBytes)
    {
        const int FirstDirect = 128;
        usedBytes = 0;
        if (input.IsEmpty)
        {
            return false;
        }

        int head = input[0];
        int count = head >= FirstDirect ? head - FirstDirect + 1 : 0;
        int length = head >= FirstDirect ? (count + 1) / 2 : head;
        usedBytes = 1 + length;
        if (usedBytes > input.Length)
        {
            return false;
        }

        ReadOnlySpan<byte> description = input.Slice(1, length);
        if (head < FirstDirect)
        {
            return TryReadCompressed(description, out count) && TryComplete(count);
        }

        for (int i = 0; i < count; i++)
        {
            _weights[i] = (byte)((description[i / 2] >> (i % 2 == 0 ? 4 : 0)) & 0xf);
        }

        return TryComplete(count);
    }

    /// <summary>Adds the last weight, which is not written: the one that makes the tree complete.</summary>
    private bool TryComplete(int count)
    {
        int sum = 0;
        bool hasLeast = false;
        foreach (byte weight in _weights.AsSpan(0, count))
        {
            if (weight > MaxBits)
            {
                return false;
            }

            hasLeast |= weight == 1;
            sum += (1 << weight) >> 1;
        }

        if (sum == 0)
        {
            return false;
        }

        LongestBits = BitOperations.Log2((uint)sum) + 1;
        int missing = (1 << LongestBits) - sum;
        int last = BitOperations.Log2((uint)missing) + 1;
        _weights[count] = (byte)last;
        SymbolCount = count + 1;
        return LongestBits <= MaxBits && BitOperations.IsPow2(missing) && (hasLeast || last == 1);
    }

    /// <summary>Weights by two FSE states that take turns on one stream, until a state wants more bits than there are.</summary>
    private bool TryReadCompressed(ReadOnlySpan<byte> description, out int count)
    {
        count = 0;
        Span<short> probabilities = stackalloc short[s_weightMeanings.Length];
        if (!FseDistribution.TryRead(description, MaxWeightAccuracyLog, probabilities, out int accuracyLog, out int usedBytes)
            || !BackwardBits.TryOpen(description[usedBytes..], out BackwardBits bits))
        {
            return false;
        }

        _weightTable.Build(probabilities, accuracyLog, s_weightMeanings);
        int state = bits.Take(accuracyLog);
        int other = bits.Take(accuracyLog);
        if (bits.Remaining < 0)
        {
            return false;
        }

        // One more is deduced, so 255 at most are written.
        while (count < MaxSymbols - 2)
        {
            ulong cell = _weightTable[state];
            _weights[count++] = FseTable.Symbol(cell);
            int next = FseTable.NextBase(cell) + bits.Take(FseTable.NextBits(cell));
            if (bits.Remaining < 0)
            {
                _weights[count++] = FseTable.Symbol(_weightTable[other]);
                return true;
            }

            state = other;
            other = next;
        }

        return false;
    }
}
