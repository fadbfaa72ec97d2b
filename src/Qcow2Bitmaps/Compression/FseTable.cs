using System.Numerics;
using System.Runtime.InteropServices;

namespace Qcow2Bitmaps.Compression;

/// <summary>A decoding table of finite state entropy. RFC 8878, 4.1.1.</summary>
/// <remarks>
/// A cell is a word, for one load to tell all: bits 0..7 how many further bits the symbol takes, bits 8..15 how many bits lead to the next
/// state, bits 16..31 what is added to these, bits 32..63 what is added to the symbol's further bits. The first and the last are the
/// symbol's meaning, as the caller gives it.
/// </remarks>
internal sealed class FseTable(int maxAccuracyLog)
{
    private const int MaxSymbols = 64;

    private readonly ulong[] _cells = new ulong[1 << maxAccuracyLog];

    /// <summary>The logarithm of the number of states; 0 for a table of one symbol that takes no bits.</summary>
    public int AccuracyLog { get; private set; }

    /// <summary>The first of the cells, of which there are 2^<see cref="AccuracyLog"/>.</summary>
    public ref ulong FirstCell => ref MemoryMarshal.GetArrayDataReference(_cells);

    /// <summary>The cell of a state.</summary>
    public ulong this[int state] => _cells[state];

    /// <summary>The byte that a cell's symbol stands for, of meanings that are bytes.</summary>
    public static byte Symbol(ulong cell) => unchecked((byte)(cell >> 32));

    /// <summary>How many bits lead from a cell to the next state.</summary>
    public static int NextBits(ulong cell) => unchecked((byte)(cell >> 8));

    /// <summary>What is added to these bits.</summary>
    public static int NextBase(ulong cell) => unchecked((ushort)(cell >> 16));

    /// <summary>Makes a table of a single symbol.</summary>
    public FseTable BuildSingle(ulong meaning)
    {
        AccuracyLog = 0;
        _cells[0] = meaning;
        return this;
    }

    /// <summary>Makes a table of symbols by their probabilities.</summary>
    /// <param name="probabilities">One for each symbol, -1 for less than one; together 2^accuracyLog.</param>
    /// <param name="accuracyLog">The logarithm of the number of states, at least 5.</param>
    /// <param name="meanings">Of each symbol, with bits 8..31 clear.</param>
    public FseTable Build(ReadOnlySpan<short> probabilities, int accuracyLog, ReadOnlySpan<ulong> meanings)
    {
        unchecked
        {
            AccuracyLog = accuracyLog;
            int size = 1 << accuracyLog;
            Span<ulong> cells = _cells.AsSpan(0, size);
            Span<ushort> next = stackalloc ushort[MaxSymbols];
            int last = size - 1;
            for (int symbol = 0; symbol < probabilities.Length; symbol++)
            {
                next[symbol] = (ushort)Math.Abs(probabilities[symbol]);
                if (probabilities[symbol] < 0)
                {
                    cells[last--] = (ulong)symbol;
                }
            }

            // The step is odd, so that every state is met once before the first one comes again.
            int step = (size >> 1) + (size >> 3) + 3;
            int state = 0;
            for (int symbol = 0; symbol < probabilities.Length; symbol++)
            {
                for (int i = 0; i < probabilities[symbol]; i++)
                {
                    cells[state] = (ulong)symbol;
                    do
                    {
                        state = (state + step) & (size - 1);
                    }
                    while (state > last);
                }
            }

            for (int i = 0; i < cells.Length; i++)
            {
                int symbol = (int)cells[i];
                uint order = next[symbol]++;
                int bits = accuracyLog - BitOperations.Log2(order);
                uint baseline = (order << bits) - (uint)size;
                cells[i] = meanings[symbol] | ((ulong)baseline << 16) | ((ulong)(uint)bits << 8);
            }

            return this;
        }
    }
}
