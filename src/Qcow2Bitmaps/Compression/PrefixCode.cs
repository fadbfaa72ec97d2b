namespace Qcow2Bitmaps.Compression;

/// <summary>A prefix code of deflate, built from symbol frequencies. RFC 1951, 3.2.2.</summary>
/// <param name="symbols">How many symbols there are, at most 512.</param>
/// <param name="maxBits">The longest code, in bits.</param>
internal sealed class PrefixCode(int symbols, int maxBits)
{
    private const int SymbolBits = 9;
    private const int SymbolMask = (1 << SymbolBits) - 1;
    private const int MostBits = 15;

    private readonly byte[] _lengths = new byte[symbols];
    private readonly ushort[] _codes = new ushort[symbols];

    // Leaves in ascending order of frequency, then the nodes over them: their weights, and the parent of each.
    private readonly long[] _leaves = new long[symbols];
    private readonly long[] _weights = new long[2 * symbols];
    private readonly int[] _parents = new int[2 * symbols];

    /// <summary>The frequency of each symbol, counted by the caller.</summary>
    public int[] Counts { get; } = new int[symbols];

    /// <summary>The length of each symbol's code in bits; 0 for one that does not occur.</summary>
    public ReadOnlySpan<byte> Lengths => _lengths;

    /// <summary>Each symbol's code, its first bit lowest: ready to be written.</summary>
    public ReadOnlySpan<ushort> Codes => _codes;

    /// <summary>Assigns codes for given lengths.</summary>
    public PrefixCode Assign(ReadOnlySpan<byte> lengths)
    {
        lengths.CopyTo(_lengths);
        Assign();
        return this;
    }

    /// <summary>Makes the best code for <see cref="Counts"/>. At least two symbols get one, as some decoders want complete codes.</summary>
    public void Build()
    {
        int leaves = CollectLeaves();
        BuildTree(leaves);

        // First the depth of each node, from the root down; then the number of leaves at each depth.
        Span<int> lengthCounts = stackalloc int[MostBits + 1];
        lengthCounts.Clear();
        int root = (2 * leaves) - 2;
        _weights[root] = 0;
        for (int node = root - 1; node >= 0; node--)
        {
            _weights[node] = _weights[_parents[node]] + 1;
            if (node < leaves)
            {
                lengthCounts[(int)Math.Min(_weights[node], maxBits)]++;
            }
        }

        Shorten(lengthCounts);
        Array.Clear(_lengths);
        int leaf = 0;
        for (int length = maxBits; length > 0; length--)
        {
            for (int i = 0; i < lengthCounts[length]; i++)
            {
                _lengths[(int)(_leaves[leaf++] & SymbolMask)] = (byte)length;
            }
        }

        Assign();
    }

    /// <summary>The total size of all counted symbols in bits.</summary>
    public long CountBits()
    {
        long bits = 0;
        for (int i = 0; i < _lengths.Length; i++)
        {
            bits += (long)Counts[i] * _lengths[i];
        }

        return bits;
    }

    private int CollectLeaves()
    {
        int leaves = 0;
        for (int symbol = 0; symbol < Counts.Length; symbol++)
        {
            if (Counts[symbol] != 0)
            {
                _leaves[leaves++] = ((long)Counts[symbol] << SymbolBits) | (uint)symbol;
            }
        }

        for (int symbol = 0; leaves < 2; symbol++)
        {
            if (Counts[symbol] == 0)
            {
                _leaves[leaves++] = (uint)symbol;
            }
        }

        _leaves.AsSpan(0, leaves).Sort();
        return leaves;
    }

    /// <summary>Joins the two lightest nodes repeatedly: leaves and joined nodes are both in ascending order.</summary>
    private void BuildTree(int leaves)
    {
        for (int i = 0; i < leaves; i++)
        {
            _weights[i] = _leaves[i] >> SymbolBits;
        }

        int leaf = 0;
        int joined = leaves;
        for (int node = leaves; node < (2 * leaves) - 1; node++)
        {
            int first = TakeLightest(leaves, ref leaf, ref joined, node);
            int second = TakeLightest(leaves, ref leaf, ref joined, node);
            _weights[node] = _weights[first] + _weights[second];
            _parents[first] = node;
            _parents[second] = node;
        }
    }

    private int TakeLightest(int leaves, ref int leaf, ref int joined, int end) =>
        joined == end || (leaf < leaves && _weights[leaf] <= _weights[joined]) ? leaf++ : joined++;

    /// <summary>Completes a code whose longest codes were cut: each step moves a leaf from the bottom next to a higher one.</summary>
    private void Shorten(Span<int> lengthCounts)
    {
        int room = 0;
        for (int length = 1; length <= maxBits; length++)
        {
            room += lengthCounts[length] << (maxBits - length);
        }

        for (; room > 1 << maxBits; room--)
        {
            int length = maxBits - 1;
            while (lengthCounts[length] == 0)
            {
                length--;
            }

            lengthCounts[length]--;
            lengthCounts[length + 1] += 2;
            lengthCounts[maxBits]--;
        }
    }

    private void Assign()
    {
        Span<int> next = stackalloc int[MostBits + 2];
        next.Clear();
        foreach (byte length in _lengths)
        {
            next[length + 1] += length == 0 ? 0 : 1;
        }

        for (int length = 1; length < next.Length; length++)
        {
            next[length] = (next[length] + next[length - 1]) << 1;
        }

        for (int symbol = 0; symbol < _lengths.Length; symbol++)
        {
            int length = _lengths[symbol];
            _codes[symbol] = length == 0 ? (ushort)0 : Reverse(next[length]++, length);
        }
    }

    private static ushort Reverse(int code, int length)
    {
        int reversed = 0;
        for (int i = 0; i < length; i++)
        {
            reversed = (reversed << 1) | ((code >> i) & 1);
        }

        return (ushort)reversed;
    }
}
