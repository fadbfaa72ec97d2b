using System.Numerics;

namespace Qcow2Bitmaps.Compression;

/// <summary>A block of deflate: collects literals and matches, and is written in the shortest form. RFC 1951, 3.2.3 to 3.2.7.</summary>
internal sealed class DeflateBlock
{
    private const int LiteralsAndLengths = 286;
    private const int Distances = 30;
    private const int EndOfBlock = 256;
    private const int FirstLength = 257;
    private const int LeastMatch = 3;
    private const int LongestMatch = 258;
    private const int LongestMatchCode = 28;
    private const int DistanceShift = 16;
    private const int HeaderBits = 3;
    private const int Stored = 0;
    private const int Fixed = 1;
    private const int Dynamic = 2;
    private const int MostStored = 0xFFFF;

    private static readonly PrefixCode s_fixedLiterals = new PrefixCode(288, 15).Assign(
        [
            .. Enumerable.Repeat((byte)8, 144), .. Enumerable.Repeat((byte)9, 112), .. Enumerable.Repeat((byte)7, 24),
            .. Enumerable.Repeat((byte)8, 8),
        ]);

    private static readonly PrefixCode s_fixedDistances = new PrefixCode(Distances, 15).Assign([.. Enumerable.Repeat((byte)5, Distances)]);

    // A token is a literal, or a match's length with its distance in the bits above.
    private readonly uint[] _tokens;
    private readonly PrefixCode _literals = new(LiteralsAndLengths, 15);
    private readonly PrefixCode _distances = new(Distances, 15);
    private readonly CodeLengths _codeLengths = new();
    private int _count;
    private long _furtherBits;

    /// <summary>Makes an empty block.</summary>
    /// <param name="mostTokens">Its capacity in literals and matches.</param>
    public DeflateBlock(int mostTokens) => _tokens = new uint[mostTokens];

    /// <summary>Whether there is room for at most one more literal.</summary>
    public bool IsAlmostFull => _count >= _tokens.Length - 1;

    /// <summary>Adds a literal.</summary>
    public void AddLiteral(byte literal)
    {
        unchecked
        {
            _tokens[_count++] = literal;
            _literals.Counts[literal]++;
        }
    }

    /// <summary>Adds a match.</summary>
    public void AddMatch(int length, int distance)
    {
        unchecked
        {
            _tokens[_count++] = ((uint)distance << DistanceShift) | (uint)length;
            int lengthCode = LengthCode(length, out int lengthBits);
            int distanceCode = DistanceCode(distance, out int distanceBits);
            _literals.Counts[FirstLength + lengthCode]++;
            _distances.Counts[distanceCode]++;
            _furtherBits += lengthBits + distanceBits;
        }
    }

    /// <summary>Writes the block and empties it.</summary>
    /// <param name="content">The bytes that it encodes.</param>
    /// <param name="writer">Gets the block.</param>
    /// <param name="isLast">Whether it is the stream's last.</param>
    /// <param name="limitBytes">The most bytes that the output may have with this block.</param>
    /// <returns>Whether it fits; otherwise nothing was written.</returns>
    public bool TryWrite(ReadOnlySpan<byte> content, ref ForwardBitWriter writer, bool isLast, int limitBytes)
    {
        _literals.Counts[EndOfBlock]++;
        _literals.Build();
        _distances.Build();
        _codeLengths.Build(_literals.Lengths, _distances.Lengths);
        long dynamicBits = HeaderBits + _codeLengths.CountBits() + _literals.CountBits() + _distances.CountBits() + _furtherBits;
        long fixedBits = HeaderBits + _furtherBits + CountBits(_literals.Counts, s_fixedLiterals)
            + CountBits(_distances.Counts, s_fixedDistances);
        long storedBits = CountStoredBits(content.Length, writer.Bits);
        long bits = Math.Min(storedBits, Math.Min(dynamicBits, fixedBits));
        bool fits = writer.Bits + bits <= 8L * limitBytes;
        if (fits)
        {
            uint last = isLast ? 1u : 0;
            if (bits == storedBits)
            {
                WriteStored(content, ref writer, last);
            }
            else if (bits == fixedBits)
            {
                writer.Write(last | (Fixed << 1), HeaderBits);
                WriteTokens(ref writer, s_fixedLiterals, s_fixedDistances);
            }
            else
            {
                writer.Write(last | (Dynamic << 1), HeaderBits);
                _codeLengths.Write(ref writer);
                WriteTokens(ref writer, _literals, _distances);
            }
        }

        Array.Clear(_literals.Counts);
        Array.Clear(_distances.Counts);
        _count = 0;
        _furtherBits = 0;
        return fits;
    }

    private static long CountBits(ReadOnlySpan<int> counts, PrefixCode code)
    {
        long bits = 0;
        for (int i = 0; i < counts.Length; i++)
        {
            bits += (long)counts[i] * code.Lengths[i];
        }

        return bits;
    }

    /// <summary>The size of stored pieces in bits: each takes three bits, padding to a whole byte, four bytes and the content.</summary>
    private static long CountStoredBits(int contentBytes, long bitsBefore)
    {
        const int PieceBytes = 5;
        int pieces = Math.Max(1, (contentBytes + MostStored - 1) / MostStored);
        long firstEnd = (bitsBefore + HeaderBits + 7) / 8 * 8;
        return firstEnd - bitsBefore + (8L * (contentBytes + (PieceBytes * pieces) - 1));
    }

    private static void WriteStored(ReadOnlySpan<byte> content, ref ForwardBitWriter writer, uint last)
    {
        do
        {
            ReadOnlySpan<byte> piece = content[..Math.Min(content.Length, MostStored)];
            content = content[piece.Length..];
            writer.Write((content.IsEmpty ? last : 0) | (Stored << 1), HeaderBits);
            writer.Finish();
            writer.Write((uint)piece.Length | ((uint)(piece.Length ^ MostStored) << 16), 32);
            writer.WriteBytes(piece);
        }
        while (!content.IsEmpty);
    }

    private void WriteTokens(ref ForwardBitWriter writer, PrefixCode literals, PrefixCode distances)
    {
        unchecked
        {
            foreach (uint token in _tokens.AsSpan(0, _count))
            {
                int distance = (int)(token >> DistanceShift);
                if (distance == 0)
                {
                    writer.Write(literals.Codes[(int)token], literals.Lengths[(int)token]);
                    continue;
                }

                int length = (int)(token & ((1 << DistanceShift) - 1));
                int code = FirstLength + LengthCode(length, out int lengthBits);
                uint further = (uint)(length - LeastMatch) & ((1u << lengthBits) - 1);
                writer.Write(literals.Codes[code] | (further << literals.Lengths[code]), literals.Lengths[code] + lengthBits);
                code = DistanceCode(distance, out int distanceBits);
                further = (uint)(distance - 1) & ((1u << distanceBits) - 1);
                writer.Write(distances.Codes[code] | (further << distances.Lengths[code]), distances.Lengths[code] + distanceBits);
            }

            writer.Write(literals.Codes[EndOfBlock], literals.Lengths[EndOfBlock]);
        }
    }

    /// <summary>The code of a length, and its number of extra bits. RFC 1951, 3.2.5: each power of two has four codes.</summary>
    private static int LengthCode(int length, out int furtherBits)
    {
        unchecked
        {
            uint value = (uint)(length - LeastMatch);
            int log = BitOperations.Log2(value | 7);
            furtherBits = length == LongestMatch ? 0 : log - 2;
            return length == LongestMatch ? LongestMatchCode : (int)(value >> (log - 2)) + (4 * (log - 2));
        }
    }

    /// <summary>The code of a distance, and its number of extra bits. RFC 1951, 3.2.5: each power of two has two codes.</summary>
    private static int DistanceCode(int distance, out int furtherBits)
    {
        unchecked
        {
            uint value = (uint)(distance - 1);
            int log = BitOperations.Log2(value | 3);
            furtherBits = log - 1;
            return (int)(value >> (log - 1)) + (2 * (log - 1));
        }
    }
}
