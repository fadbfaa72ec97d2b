namespace Qcow2Bitmaps.Compression;

/// <summary>The head of a dynamic deflate block: the run-length coded lengths of its two codes. RFC 1951, 3.2.7.</summary>
internal sealed class CodeLengths
{
    private const int Symbols = 19;
    private const int MaxBits = 7;
    private const int LeastLiterals = 257;
    private const int LeastLengths = 4;
    private const int LengthBits = 3;
    private const int CountsBits = 5 + 5 + 4;
    private const int SymbolBits = 8;
    private const int RepeatLast = 16;
    private const int ShortZeros = 17;
    private const int LongZeros = 18;

    private readonly PrefixCode _code = new(Symbols, MaxBits);

    // A symbol, with its extra bits in the bits above it.
    private readonly List<uint> _tokens = new(320);
    private readonly byte[] _lengths = new byte[320];
    private int _literals;
    private int _distances;
    private int _written;

    /// <summary>The order in which the lengths of this code's own symbols are written.</summary>
    private static ReadOnlySpan<byte> Order => [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

    /// <summary>Makes the head of a block with two codes.</summary>
    public void Build(ReadOnlySpan<byte> literals, ReadOnlySpan<byte> distances)
    {
        _literals = Math.Max(LeastLiterals, literals.LastIndexOfAnyExcept((byte)0) + 1);
        _distances = Math.Max(1, distances.LastIndexOfAnyExcept((byte)0) + 1);
        literals[.._literals].CopyTo(_lengths);
        distances[.._distances].CopyTo(_lengths.AsSpan(_literals));
        Array.Clear(_code.Counts);
        _tokens.Clear();
        ReadOnlySpan<byte> rest = _lengths.AsSpan(0, _literals + _distances);
        while (!rest.IsEmpty)
        {
            int run = rest.IndexOfAnyExcept(rest[0]);
            run = run < 0 ? rest.Length : run;
            AddRun(rest[0], run);
            rest = rest[run..];
        }

        _code.Build();
        _written = Symbols;
        while (_written > LeastLengths && _code.Lengths[Order[_written - 1]] == 0)
        {
            _written--;
        }
    }

    /// <summary>How many bits the head takes.</summary>
    public long CountBits() =>
        CountsBits + (LengthBits * _written) + _code.CountBits()
        + (2L * _code.Counts[RepeatLast]) + (3L * _code.Counts[ShortZeros]) + (7L * _code.Counts[LongZeros]);

    /// <summary>Writes the head.</summary>
    public void Write(ref ForwardBitWriter writer)
    {
        writer.Write((uint)(_literals - LeastLiterals), 5);
        writer.Write((uint)(_distances - 1), 5);
        writer.Write((uint)(_written - LeastLengths), 4);
        foreach (byte symbol in Order[.._written])
        {
            writer.Write(_code.Lengths[symbol], LengthBits);
        }

        foreach (uint token in _tokens)
        {
            int symbol = (int)(token & ((1 << SymbolBits) - 1));
            writer.Write(_code.Codes[symbol], _code.Lengths[symbol]);
            writer.Write(token >> SymbolBits, symbol switch { RepeatLast => 2, ShortZeros => 3, LongZeros => 7, _ => 0 });
        }
    }

    private void AddRun(byte length, int run)
    {
        const int LeastRepeat = 3;
        const int MostRepeat = 6;
        const int LeastLongZeros = 11;
        const int MostLongZeros = 138;
        if (length != 0)
        {
            Add(length, 0);
            run--;
        }

        while (run >= LeastRepeat)
        {
            int most = length == 0 ? MostLongZeros : MostRepeat;
            int piece = Math.Min(run, most);
            if (length != 0)
            {
                Add(RepeatLast, piece - LeastRepeat);
            }
            else if (piece < LeastLongZeros)
            {
                Add(ShortZeros, piece - LeastRepeat);
            }
            else
            {
                Add(LongZeros, piece - LeastLongZeros);
            }

            run -= piece;
        }

        for (; run > 0; run--)
        {
            Add(length, 0);
        }
    }

    private void Add(int symbol, int further)
    {
        _code.Counts[symbol]++;
        _tokens.Add(((uint)further << SymbolBits) | (uint)symbol);
    }
}
