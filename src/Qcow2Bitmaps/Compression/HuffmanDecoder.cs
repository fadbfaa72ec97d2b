using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Qcow2Bitmaps.Compression;

/// <summary>Decodes literals from Huffman streams. RFC 8878, 4.2.2.</summary>
/// <remarks>
/// A stream is loaded 8 bytes at a time, the last of which is the one that has the next bit. Near a stream's start this
/// reaches up to 8 bytes before it, which are there: a frame's magic bytes and descriptor and a block's header,
/// together more than 8 bytes, precede every stream.
/// </remarks>
internal sealed class HuffmanDecoder
{
    private const int TableBits = HuffmanTree.MaxBits;
    private const int IndexShift = 64 - TableBits;
    private const int SymbolsPerLoad = 5;
    private const int BitsPerLoad = SymbolsPerLoad * TableBits;
    private const int JumpTableBytes = 6;
    private const int LoadBytes = sizeof(ulong);

    // A cell for every 11 bits: bits 0..7 the length of the code they start with, bits 8..15 its symbol.
    private readonly ushort[] _cells = new ushort[1 << TableBits];

    /// <summary>Makes the table of a tree.</summary>
    public void Build(HuffmanTree tree)
    {
        unchecked
        {
            Span<int> counts = stackalloc int[HuffmanTree.MaxBits + 1];
            counts.Clear();
            foreach (byte weight in tree.Weights)
            {
                counts[weight]++;
            }

            // Codes stand in the order of weights, then of symbols; the lightest, which are the longest, start at zero.
            Span<int> starts = stackalloc int[HuffmanTree.MaxBits + 1];
            int scale = TableBits - tree.LongestBits;
            int start = 0;
            for (int weight = 1; weight < starts.Length; weight++)
            {
                starts[weight] = start;
                start += counts[weight] << (weight - 1 + scale);
            }

            for (int symbol = 0; symbol < tree.Weights.Length; symbol++)
            {
                int weight = tree.Weights[symbol];
                if (weight != 0)
                {
                    int width = 1 << (weight - 1 + scale);
                    _cells.AsSpan(starts[weight], width).Fill((ushort)((symbol << 8) | (tree.LongestBits + 1 - weight)));
                    starts[weight] += width;
                }
            }
        }
    }

    /// <summary>Decodes a single stream.</summary>
    /// <param name="input">What holds the stream, with at least 8 bytes before it.</param>
    /// <param name="start">Where the stream starts.</param>
    /// <param name="end">Where it ends.</param>
    /// <param name="literals">Filled with symbols.</param>
    /// <returns>Whether the stream has exactly these many.</returns>
    public bool TryDecodeOne(ReadOnlySpan<byte> input, int start, int end, Span<byte> literals)
    {
        long bits = OpenStream(input, start, end);
        return bits >= 0 && DecodeRest(input, start, bits, literals);
    }

    /// <summary>Decodes four streams, with the table of their lengths before them, each for a quarter of the literals.</summary>
    /// <inheritdoc cref="TryDecodeOne"/>
    public bool TryDecodeFour(ReadOnlySpan<byte> input, int start, int end, Span<byte> literals)
    {
        unchecked
        {
            int quarter = (literals.Length + 3) / 4;
            int last = literals.Length - (3 * quarter);
            if (end - start < JumpTableBytes || last < 0)
            {
                return false;
            }

            int start1 = start + JumpTableBytes;
            int start2 = start1 + BinaryPrimitives.ReadUInt16LittleEndian(input[start..]);
            int start3 = start2 + BinaryPrimitives.ReadUInt16LittleEndian(input[(start + 2)..]);
            int start4 = start3 + BinaryPrimitives.ReadUInt16LittleEndian(input[(start + 4)..]);
            if (start4 > end)
            {
                return false;
            }

            long bits1 = OpenStream(input, start1, start2);
            long bits2 = OpenStream(input, start2, start3);
            long bits3 = OpenStream(input, start3, start4);
            long bits4 = OpenStream(input, start4, end);
            if ((bits1 | bits2 | bits3 | bits4) < 0)
            {
                return false;
            }

            ref byte source = ref MemoryMarshal.GetReference(input);
            ref byte target = ref MemoryMarshal.GetReference(literals);
            ref ushort cells = ref MemoryMarshal.GetArrayDataReference(_cells);
            nint done = 0;
            while (true)
            {
                // So many rounds cannot run out of bits, nor of the place of the shortest quarter.
                long fewest = Math.Min(Math.Min(bits1, bits2), Math.Min(bits3, bits4));
                nint rounds = Math.Min((last - done) / SymbolsPerLoad, (nint)(fewest / BitsPerLoad));
                if (rounds <= 0)
                {
                    break;
                }

                nint at1 = LoadOffset(start1, bits1);
                nint at2 = LoadOffset(start2, bits2);
                nint at3 = LoadOffset(start3, bits3);
                nint at4 = LoadOffset(start4, bits4);
                ulong word1 = Load(ref source, at1, (int)-bits1 & 7);
                ulong word2 = Load(ref source, at2, (int)-bits2 & 7);
                ulong word3 = Load(ref source, at3, (int)-bits3 & 7);
                ulong word4 = Load(ref source, at4, (int)-bits4 & 7);
                nint limit = done + (rounds * SymbolsPerLoad);
                do
                {
                    ref byte target1 = ref Unsafe.Add(ref target, done);
                    ref byte target3 = ref Unsafe.Add(ref target1, 2 * quarter);
                    Step(ref word1, ref cells, ref target1);
                    Step(ref word2, ref cells, ref Unsafe.Add(ref target1, quarter));
                    Step(ref word3, ref cells, ref target3);
                    Step(ref word4, ref cells, ref Unsafe.Add(ref target3, quarter));
                    Step(ref word1, ref cells, ref Unsafe.Add(ref target1, 1));
                    Step(ref word2, ref cells, ref Unsafe.Add(ref target1, quarter + 1));
                    Step(ref word3, ref cells, ref Unsafe.Add(ref target3, 1));
                    Step(ref word4, ref cells, ref Unsafe.Add(ref target3, quarter + 1));
                    Step(ref word1, ref cells, ref Unsafe.Add(ref target1, 2));
                    Step(ref word2, ref cells, ref Unsafe.Add(ref target1, quarter + 2));
                    Step(ref word3, ref cells, ref Unsafe.Add(ref target3, 2));
                    Step(ref word4, ref cells, ref Unsafe.Add(ref target3, quarter + 2));
                    Step(ref word1, ref cells, ref Unsafe.Add(ref target1, 3));
                    Step(ref word2, ref cells, ref Unsafe.Add(ref target1, quarter + 3));
                    Step(ref word3, ref cells, ref Unsafe.Add(ref target3, 3));
                    Step(ref word4, ref cells, ref Unsafe.Add(ref target3, quarter + 3));
                    Step(ref word1, ref cells, ref Unsafe.Add(ref target1, 4));
                    Step(ref word2, ref cells, ref Unsafe.Add(ref target1, quarter + 4));
                    Step(ref word3, ref cells, ref Unsafe.Add(ref target3, 4));
                    Step(ref word4, ref cells, ref Unsafe.Add(ref target3, quarter + 4));
                    done += SymbolsPerLoad;
                    Reload(ref source, ref at1, ref word1);
                    Reload(ref source, ref at2, ref word2);
                    Reload(ref source, ref at3, ref word3);
                    Reload(ref source, ref at4, ref word4);
                }
                while (done < limit);

                bits1 = BitsLeft(start1, at1, word1);
                bits2 = BitsLeft(start2, at2, word2);
                bits3 = BitsLeft(start3, at3, word3);
                bits4 = BitsLeft(start4, at4, word4);
            }

            int whole = (int)done;
            return DecodeRest(input, start1, bits1, literals[whole..quarter])
                && DecodeRest(input, start2, bits2, literals[(quarter + whole)..(2 * quarter)])
                && DecodeRest(input, start3, bits3, literals[((2 * quarter) + whole)..(3 * quarter)])
                && DecodeRest(input, start4, bits4, literals[((3 * quarter) + whole)..]);
        }
    }

    /// <summary>The bits of a stream without the one that marks its end; negative if it has no such bit.</summary>
    private static long OpenStream(ReadOnlySpan<byte> input, int start, int end) =>
        end <= start || input[end - 1] == 0 ? -1 : (8L * (end - start)) - BackwardBits.CountPadding(input[end - 1]);

    /// <summary>Decodes what is left of a stream, down to its very last bit.</summary>
    private bool DecodeRest(ReadOnlySpan<byte> input, int start, long bits, Span<byte> literals)
    {
        unchecked
        {
            ref byte source = ref MemoryMarshal.GetReference(input);
            ref byte target = ref MemoryMarshal.GetReference(literals);
            ref ushort cells = ref MemoryMarshal.GetArrayDataReference(_cells);
            nint done = 0;
            for (; bits >= BitsPerLoad && literals.Length - done >= SymbolsPerLoad; done += SymbolsPerLoad)
            {
                nint at = LoadOffset(start, bits);
                ulong word = Load(ref source, at, (int)-bits & 7);
                for (int i = 0; i < SymbolsPerLoad; i++)
                {
                    Step(ref word, ref cells, ref Unsafe.Add(ref target, done + i));
                }

                bits = BitsLeft(start, at, word);
            }

            for (; done < literals.Length && bits >= 0; done++)
            {
                nint at = LoadOffset(start, bits);
                ulong word = Load(ref source, at, (int)-bits & 7);
                Step(ref word, ref cells, ref Unsafe.Add(ref target, done));
                bits = BitsLeft(start, at, word);
            }

            return bits == 0 && done == literals.Length;
        }
    }

    /// <summary>Where to load the 8 bytes whose last one has the next of so many bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static nint LoadOffset(int start, long bits) => unchecked(start + (nint)((bits + 7) >> 3) - LoadBytes);

    /// <summary>The next bits on top; a set bit below the unread ones lets trailing zeros count the bits that were read.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Load(ref byte source, nint at, int read) => unchecked((WideMemory.Load64(ref source, at) | 1) << read);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Reload(ref byte source, ref nint at, ref ulong word)
    {
        unchecked
        {
            int read = BitOperations.TrailingZeroCount(word);
            at -= read >> 3;
            word = Load(ref source, at, read & 7);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long BitsLeft(int start, nint at, ulong word) =>
        unchecked((8 * (at + LoadBytes - start)) - BitOperations.TrailingZeroCount(word));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step(ref ulong word, ref ushort cells, ref byte target)
    {
        unchecked
        {
            uint cell = Unsafe.Add(ref cells, (nint)(word >> IndexShift));
            word <<= (int)(cell & 63);
            target = (byte)(cell >> 8);
        }
    }
}
