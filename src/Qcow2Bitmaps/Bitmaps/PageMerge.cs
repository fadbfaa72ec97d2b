namespace Qcow2Bitmaps.Bitmaps;

// Decisions: docs/decisions/bitmaps.md.
/// <summary>ORs bits of one granularity into bits of another; the pieces of the two bitmaps need not be aligned to each other.</summary>
internal static class PageMerge
{
    /// <summary>A piece of a bitmap: words that start at a bit which is a multiple of 64.</summary>
    /// <param name="FirstBit">The first word's first bit, counted over the whole bitmap.</param>
    /// <param name="BitCount">The number of valid bits; later bits of the last word are left unchanged or ignored.</param>
    /// <param name="GranularityBits">The granularity as a power of two.</param>
    public readonly record struct Piece(long FirstBit, int BitCount, int GranularityBits)
    {
        /// <summary>The bits that a range of the disk touches here, counted from <see cref="FirstBit"/>.</summary>
        /// <param name="start">Where the range starts, in bytes.</param>
        /// <param name="end">Where it ends, in bytes; above the start.</param>
        public (int Start, int End) BitsOf(long start, long end)
        {
            long first = Math.Max((start >> GranularityBits) - FirstBit, 0);
            long last = ((end - 1) >> GranularityBits) - FirstBit;
            return ((int)Math.Min(first, BitCount), (int)Math.Clamp(last + 1, 0, BitCount));
        }

        /// <summary>The range of the disk that the bits cover, in bytes, cut at a limit.</summary>
        public (long Start, long End) BytesWithin(long limit)
        {
            long last = FirstBit + BitCount;
            return (FirstBit > limit >> GranularityBits ? limit : Math.Min(FirstBit << GranularityBits, limit),
                last > limit >> GranularityBits ? limit : last << GranularityBits);
        }
    }

    /// <summary>Sets each bit of the target whose granule contains a byte that is dirty in the source.</summary>
    /// <param name="target">The position of the target's words.</param>
    /// <param name="words">The target's words.</param>
    /// <param name="source">The position of the source's words.</param>
    /// <param name="sourceWords">The source's words.</param>
    /// <param name="limit">Bytes of the disk from this offset on count as clean: the smaller disk's size.</param>
    public static void Or(Piece target, Span<ulong> words, Piece source, ReadOnlySpan<ulong> sourceWords, long limit)
    {
        (long targetStart, long targetEnd) = target.BytesWithin(limit);
        (long sourceStart, long sourceEnd) = source.BytesWithin(limit);
        long start = Math.Max(targetStart, sourceStart);
        long end = Math.Min(targetEnd, sourceEnd);
        if (start >= end)
        {
            return;
        }

        (int first, int last) = target.BitsOf(start, end);
        (int sourceFirst, int sourceLast) = source.BitsOf(start, end);
        if (source.GranularityBits == target.GranularityBits)
        {
            OrSame(words, first, last, sourceWords, sourceFirst);
        }
        else if (source.GranularityBits < target.GranularityBits)
        {
            OrFiner(target, words, source, sourceWords, sourceFirst, sourceLast);
        }
        else
        {
            OrCoarser(target, words, first, last, source, sourceWords);
        }
    }

    // Pieces start at multiples of 64 bits and pages nest, so that both starts are multiples of 64.
    private static void OrSame(Span<ulong> words, int first, int last, ReadOnlySpan<ulong> source, int sourceFirst)
    {
        int at = first >> BitmapGeometry.WordShift;
        int sourceAt = sourceFirst >> BitmapGeometry.WordShift;
        int whole = (last - first) >> BitmapGeometry.WordShift;
        BitKernels.Or(words.Slice(at, whole), source.Slice(sourceAt, whole));
        if (((last - first) & 63) != 0)
        {
            words[at + whole] |= source[sourceAt + whole] & BitmapGeometry.LastWordMask(last);
        }
    }

    /// <summary>Each bit of the source is a part of one bit of the target.</summary>
    private static void OrFiner(
        Piece target, Span<ulong> words, Piece finer, ReadOnlySpan<ulong> source, int sourceStart, int sourceEnd)
    {
        int shift = target.GranularityBits - finer.GranularityBits;
        (long firstBit, long sourceFirstBit) = (target.FirstBit, finer.FirstBit);
        if (shift >= BitmapGeometry.WordShift)
        {
            // A bit of the target is one or more words of the source: once it is set, the rest of them does not matter.
            for (int bit = BitKernels.Find(source, sourceStart, sourceEnd, true); bit < sourceEnd;)
            {
                long targetBit = (sourceFirstBit + bit) >> shift;
                Set(words, targetBit - firstBit);
                long next = ((targetBit + 1) << shift) - sourceFirstBit;
                bit = next >= sourceEnd ? sourceEnd : BitKernels.Find(source, (int)next, sourceEnd, true);
            }

            return;
        }

        int bitsPerWord = 64 >> shift;
        int at = sourceStart >> BitmapGeometry.WordShift;
        int wholeEnd = sourceEnd >> BitmapGeometry.WordShift;
        long targetAt = ((sourceFirstBit + ((long)at << BitmapGeometry.WordShift)) >> shift) - firstBit;

        // Pages have 4096 bits or more, so that here both pieces start at a whole word: groups of words first, then the rest.
        int groups = (wholeEnd - at) >> shift;
        BitKernels.OrGathered(words.Slice((int)(targetAt >> BitmapGeometry.WordShift), groups), source.Slice(at, groups << shift), shift);
        at += groups << shift;
        targetAt += (long)groups << BitmapGeometry.WordShift;
        for (; at < wholeEnd; at++, targetAt += bitsPerWord)
        {
            Or(words, targetAt, BitKernels.Gather(source[at], shift));
        }

        if ((sourceEnd & 63) != 0)
        {
            Or(words, targetAt, BitKernels.Gather(source[at] & BitmapGeometry.LastWordMask(sourceEnd), shift));
        }
    }

    /// <summary>Each bit of the source is a run of bits of the target, cut where the piece ends.</summary>
    private static void OrCoarser(
        Piece target, Span<ulong> words, int first, int last, Piece coarser, ReadOnlySpan<ulong> source)
    {
        int shift = coarser.GranularityBits - target.GranularityBits;
        (long firstBit, long sourceFirstBit) = (target.FirstBit, coarser.FirstBit);
        if (shift >= BitmapGeometry.WordShift)
        {
            int sourceEnd = (int)(((firstBit + last - 1) >> shift) - sourceFirstBit) + 1;
            for (int bit = (int)(((firstBit + first) >> shift) - sourceFirstBit); ;)
            {
                int runStart = BitKernels.Find(source, bit, sourceEnd, true);
                if (runStart == sourceEnd)
                {
                    return;
                }

                bit = BitKernels.Find(source, runStart, sourceEnd, false);
                long start = ((sourceFirstBit + runStart) << shift) - firstBit;
                long end = ((sourceFirstBit + bit) << shift) - firstBit;
                BitKernels.Fill(words, (int)Math.Max(start, first), (int)Math.Min(end, last), true);
            }
        }

        int bitsPerWord = 64 >> shift;
        int at = first >> BitmapGeometry.WordShift;
        int wholeEnd = last >> BitmapGeometry.WordShift;
        long sourceAt = ((firstBit + ((long)at << BitmapGeometry.WordShift)) >> shift) - sourceFirstBit;

        int groups = (wholeEnd - at) >> shift;
        BitKernels.OrSpread(words.Slice(at, groups << shift), source.Slice((int)(sourceAt >> BitmapGeometry.WordShift), groups), shift);
        at += groups << shift;
        sourceAt += (long)groups << BitmapGeometry.WordShift;
        for (; at < wholeEnd; at++, sourceAt += bitsPerWord)
        {
            words[at] |= BitKernels.Spread(BitsAt(source, sourceAt), shift);
        }

        if ((last & 63) != 0)
        {
            words[at] |= BitKernels.Spread(BitsAt(source, sourceAt), shift) & BitmapGeometry.LastWordMask(last);
        }
    }

    private static ulong BitsAt(ReadOnlySpan<ulong> words, long bit) => words[(int)(bit >> BitmapGeometry.WordShift)] >> (int)(bit & 63);

    private static void Or(Span<ulong> words, long bit, ulong bits) =>
        words[(int)(bit >> BitmapGeometry.WordShift)] |= bits << (int)(bit & 63);

    private static void Set(Span<ulong> words, long bit) =>
        words[(int)(bit >> BitmapGeometry.WordShift)] |= 1UL << (int)(bit & 63);
}
