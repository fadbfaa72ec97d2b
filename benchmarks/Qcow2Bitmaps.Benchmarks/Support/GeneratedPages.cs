using Qcow2Bitmaps.Bitmaps;

namespace Qcow2Bitmaps.Benchmarks.Support;

/// <summary>A bitmap of a pattern, made up page by page: what benchmarks read, copy to memory or write to images.</summary>
internal sealed class GeneratedPages(int granularityBits, long bytesOfBits, BitPattern pattern, ulong seed) : IBitmapPages
{
    /// <summary>Bytes of the bits of a page: those of a cluster of 64 KiB.</summary>
    public const int PageBytes = 1 << (DirtyBitmap.DefaultPageShift - 3);

    private const int SparseEvery = 64;
    private const int LongestRunBits = 4096;

    public long SizeBytes { get; } = (bytesOfBits * 8) << granularityBits;

    public int GranularityBits => granularityBits;

    public int PageShift => DirtyBitmap.DefaultPageShift;

    public BitmapPageKind KindOf(int page) => pattern != BitPattern.Sparse
        ? BitmapPageKind.Bits
        : (page % SparseEvery) switch
        {
            0 => BitmapPageKind.Bits,
            1 => BitmapPageKind.AllDirty,
            _ => BitmapPageKind.AllClean,
        };

    public ValueTask ReadPageAsync(int page, Memory<ulong> words, CancellationToken cancellationToken)
    {
        ReadPage(page, words.Span);
        return ValueTask.CompletedTask;
    }

    /// <summary>Makes up a page's bits.</summary>
    public void ReadPage(int page, Span<ulong> words)
    {
        var random = new SplitMix64(unchecked((seed << 32) + (ulong)page));
        if (pattern == BitPattern.Runs)
        {
            FillRuns(words, ref random);
        }
        else
        {
            foreach (ref ulong word in words)
            {
                word = random.Next() & random.Next();
            }
        }
    }

    /// <summary>The bits in memory.</summary>
    public DirtyBitmap ToBitmap()
    {
        var bitmap = new DirtyBitmap(BitmapGeometry.Of(this));
        bitmap.MergeAsync(this, CancellationToken.None).AsTask().GetAwaiter().GetResult();
        return bitmap;
    }

    /// <summary>The bits in arrays of the sizes that a <see cref="DirtyBitmap"/> has, for loops that it does not offer.</summary>
    public ulong[][] ToArrays()
    {
        var geometry = BitmapGeometry.Of(this);
        var pages = new ulong[geometry.PageCount][];
        for (int page = 0; page < pages.Length; page++)
        {
            pages[page] = new ulong[geometry.WordsIn(page)];
            ReadPage(page, pages[page]);
        }

        return pages;
    }

    private static void FillRuns(Span<ulong> words, ref SplitMix64 random)
    {
        words.Clear();
        int end = words.Length << BitmapGeometry.WordShift;
        int bit = 0;
        while (bit < end)
        {
            int dirty = bit + RunLength(ref random);
            int next = Math.Min(dirty + RunLength(ref random), end);
            BitKernels.Fill(words, dirty, next, true);
            bit = next;
        }
    }

    private static int RunLength(ref SplitMix64 random) => 1 + (int)(random.Next() % LongestRunBits);
}
