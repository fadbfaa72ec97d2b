using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Qcow2Bitmaps.Bitmaps;

/// <summary>The loops over words of bits, vectorized where possible. <see cref="ScalarBitKernels"/> is the plain version.</summary>
/// <remarks>Bit n of a bitmap is bit n % 64 of word n / 64, least significant first: the order on disk, read as little endian.</remarks>
internal static class BitKernels
{
    /// <summary>ORs words into the same number of other words.</summary>
    public static void Or(Span<ulong> destination, ReadOnlySpan<ulong> source) => Combine<OrOperation>(destination, source);

    /// <summary>ANDs words into the same number of other words.</summary>
    public static void And(Span<ulong> destination, ReadOnlySpan<ulong> source) => Combine<AndOperation>(destination, source);

    /// <summary>Clears in words the bits that are set in others of the same number.</summary>
    public static void AndNot(Span<ulong> destination, ReadOnlySpan<ulong> source) => Combine<AndNotOperation>(destination, source);

    /// <summary>Counts the bits that are set.</summary>
    public static long Count(ReadOnlySpan<ulong> words)
    {
        if (!Avx2.IsSupported)
        {
            return ScalarBitKernels.Count(words);
        }

        // Counts each byte's bits by two 4-bit lookups; byte sums are widened by the sum of absolute differences.
        Vector256<byte> countOf = Vector256.Create(
            (byte)0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
        Vector256<byte> low = Vector256.Create((byte)0x0f);
        ReadOnlySpan<Vector256<byte>> vectors = MemoryMarshal.Cast<ulong, Vector256<byte>>(words);
        Vector256<ulong> total = Vector256<ulong>.Zero;
        foreach (Vector256<byte> vector in vectors)
        {
            Vector256<byte> counts = Avx2.Shuffle(countOf, vector & low)
                + Avx2.Shuffle(countOf, (vector.AsUInt16() >>> 4).AsByte() & low);
            total += Avx2.SumAbsoluteDifferences(counts, Vector256<byte>.Zero).AsUInt64();
        }

        return (long)Vector256.Sum(total) + ScalarBitKernels.Count(words[(vectors.Length * Vector256<ulong>.Count)..]);
    }

    /// <summary>Whether every word equals a value.</summary>
    public static bool IsAll(ReadOnlySpan<ulong> words, ulong value) => !words.ContainsAnyExcept(value);

    /// <summary>Finds the first bit of a value.</summary>
    /// <returns>Its index, or <paramref name="end"/> when there is none before it.</returns>
    public static int Find(ReadOnlySpan<ulong> words, int start, int end, bool value)
    {
        if (start >= end)
        {
            return end;
        }

        ulong uniform = value ? 0 : ulong.MaxValue;
        int word = start >> BitmapGeometry.WordShift;
        ulong found = (words[word] ^ uniform) & (ulong.MaxValue << (start & 63));
        if (found == 0)
        {
            int lastWord = (end - 1) >> BitmapGeometry.WordShift;
            int skipped = words[(word + 1)..(lastWord + 1)].IndexOfAnyExcept(uniform);
            if (skipped < 0)
            {
                return end;
            }

            word += 1 + skipped;
            found = words[word] ^ uniform;
        }

        return Math.Min(end, (word << BitmapGeometry.WordShift) + BitOperations.TrailingZeroCount(found));
    }

    /// <summary>Sets or clears the bits of a range.</summary>
    public static void Fill(Span<ulong> words, int start, int end, bool value)
    {
        if (start >= end)
        {
            return;
        }

        int firstWord = start >> BitmapGeometry.WordShift;
        int lastWord = (end - 1) >> BitmapGeometry.WordShift;
        ulong firstMask = ulong.MaxValue << (start & 63);
        ulong lastMask = BitmapGeometry.LastWordMask(end);
        if (firstWord == lastWord)
        {
            Apply(ref words[firstWord], firstMask & lastMask, value);
            return;
        }

        Apply(ref words[firstWord], firstMask, value);
        words[(firstWord + 1)..lastWord].Fill(value ? ulong.MaxValue : 0);
        Apply(ref words[lastWord], lastMask, value);
    }

    /// <summary>Makes each of the low bits into a run of 2^shift bits: 64 &gt;&gt; shift bits fill a word.</summary>
    /// <param name="bits">The bits; those above 64 &gt;&gt; shift are ignored.</param>
    /// <param name="shift">1 to 5.</param>
    public static ulong Spread(ulong bits, int shift) => Bmi2.X64.IsSupported
        ? Deposit(bits, FirstOfRuns(shift), Run(shift))
        : ScalarBitKernels.Spread(bits, shift);

    /// <summary>ORs words, each spread over 2^shift words, into others.</summary>
    /// <param name="destination">2^shift times as many words as the source has.</param>
    /// <param name="source">The words to spread.</param>
    /// <param name="shift">1 to 5.</param>
    public static void OrSpread(Span<ulong> destination, ReadOnlySpan<ulong> source, int shift)
    {
        if (!Bmi2.X64.IsSupported)
        {
            ScalarBitKernels.OrSpread(destination, source, shift);
            return;
        }

        ulong firstOfRuns = FirstOfRuns(shift);
        ulong run = Run(shift);
        int bitsPerWord = 64 >> shift;
        for (int i = 0; i < source.Length; i++)
        {
            ulong bits = source[i];
            if (bits != 0)
            {
                foreach (ref ulong word in destination.Slice(i << shift, 1 << shift))
                {
                    word |= Deposit(bits, firstOfRuns, run);
                    bits >>= bitsPerWord;
                }
            }
        }
    }

    /// <summary>Makes each run of 2^shift bits into one bit, set when any of them is; the result has 64 &gt;&gt; shift bits.</summary>
    /// <param name="word">The bits.</param>
    /// <param name="shift">1 to 5.</param>
    public static ulong Gather(ulong word, int shift) => Bmi2.X64.IsSupported
        ? Bmi2.X64.ParallelBitExtract(FoldRuns(word, shift), FirstOfRuns(shift))
        : ScalarBitKernels.Gather(word, shift);

    /// <summary>ORs words, each 2^shift of them gathered into one, into others.</summary>
    /// <param name="destination">The words to change.</param>
    /// <param name="source">2^shift times as many words as the destination has.</param>
    /// <param name="shift">1 to 5.</param>
    public static void OrGathered(Span<ulong> destination, ReadOnlySpan<ulong> source, int shift)
    {
        if (!Bmi2.X64.IsSupported)
        {
            ScalarBitKernels.OrGathered(destination, source, shift);
            return;
        }

        ulong firstOfRuns = FirstOfRuns(shift);
        int bitsPerWord = 64 >> shift;
        for (int i = 0; i < destination.Length; i++)
        {
            ulong result = 0;
            int position = 0;
            foreach (ulong word in source.Slice(i << shift, 1 << shift))
            {
                result |= Bmi2.X64.ParallelBitExtract(FoldRuns(word, shift), firstOfRuns) << position;
                position += bitsPerWord;
            }

            destination[i] |= result;
        }
    }

    // Vector256, not Vector<T>: a native build fixes the size of that for processors without AVX2.
    private static void Combine<T>(Span<ulong> destination, ReadOnlySpan<ulong> source)
        where T : IWordOperation
    {
        source = source[..destination.Length];
        int done = 0;
        if (Vector256.IsHardwareAccelerated)
        {
            Span<Vector256<ulong>> vectors = MemoryMarshal.Cast<ulong, Vector256<ulong>>(destination);
            ReadOnlySpan<Vector256<ulong>> others = MemoryMarshal.Cast<ulong, Vector256<ulong>>(source)[..vectors.Length];
            int i = 0;
            // Two at a time: one load, operation and store a turn leaves the ports idle.
            for (; i + 1 < vectors.Length; i += 2)
            {
                Vector256<ulong> first = T.Of(vectors[i], others[i]);
                Vector256<ulong> second = T.Of(vectors[i + 1], others[i + 1]);
                vectors[i] = first;
                vectors[i + 1] = second;
            }

            done = i * Vector256<ulong>.Count;
        }

        for (; done < destination.Length; done++)
        {
            destination[done] = T.Of(destination[done], source[done]);
        }
    }

    /// <summary>ORs all bits of each run of 2^shift bits into its first one; the others are left in any state.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong FoldRuns(ulong word, int shift)
    {
        word |= word >> 1;
        if (shift > 1)
        {
            word |= word >> 2;
        }

        if (shift > 2)
        {
            word |= word >> 4;
        }

        if (shift > 3)
        {
            word |= word >> 8;
        }

        return shift > 4 ? word | (word >> 16) : word;
    }

    /// <summary>Puts bits at the first positions of runs and fills each run with its bit.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Deposit(ulong bits, ulong firstOfRuns, ulong run) =>
        unchecked(Bmi2.X64.ParallelBitDeposit(bits, firstOfRuns) * run);

    /// <summary>A word with one run of 2^shift bits.</summary>
    private static ulong Run(int shift) => (1UL << (1 << shift)) - 1;

    /// <summary>A word with the first bit of each run of 2^shift bits.</summary>
    private static ulong FirstOfRuns(int shift) => ulong.MaxValue / Run(shift);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Apply(ref ulong word, ulong mask, bool value) => word = value ? word | mask : word & ~mask;

    private interface IWordOperation
    {
        static abstract ulong Of(ulong word, ulong other);

        static abstract Vector256<ulong> Of(Vector256<ulong> words, Vector256<ulong> others);
    }

    private readonly struct OrOperation : IWordOperation
    {
        public static ulong Of(ulong word, ulong other) => word | other;

        public static Vector256<ulong> Of(Vector256<ulong> words, Vector256<ulong> others) => words | others;
    }

    private readonly struct AndOperation : IWordOperation
    {
        public static ulong Of(ulong word, ulong other) => word & other;

        public static Vector256<ulong> Of(Vector256<ulong> words, Vector256<ulong> others) => words & others;
    }

    private readonly struct AndNotOperation : IWordOperation
    {
        public static ulong Of(ulong word, ulong other) => word & ~other;

        public static Vector256<ulong> Of(Vector256<ulong> words, Vector256<ulong> others) => Vector256.AndNot(words, others);
    }
}
