namespace Qcow2Bitmaps.Bitmaps;

/// <summary>A bitmap whose bits can be read page by page, wherever they are stored.</summary>
internal interface IBitmapPages
{
    /// <summary>The disk's size in bytes.</summary>
    long SizeBytes { get; }

    /// <summary>The granularity as a power of two.</summary>
    int GranularityBits { get; }

    /// <summary>The bits of a page as a power of two, 12 to 24; only the last page may have fewer.</summary>
    int PageShift { get; }

    /// <summary>What is known about a page without I/O.</summary>
    BitmapPageKind KindOf(int page);

    /// <summary>Reads a page's bits, least significant first; bits past the disk's end are returned as zeros.</summary>
    /// <param name="page">A page whose kind is <see cref="BitmapPageKind.Bits"/>.</param>
    /// <param name="words">Receives the words; exactly as many as the page has.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    ValueTask ReadPageAsync(int page, Memory<ulong> words, CancellationToken cancellationToken);
}
