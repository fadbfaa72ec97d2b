using System.Runtime.CompilerServices;

namespace Qcow2Bitmaps.Bitmaps;

/// <summary>Reads the union of bitmaps of any granularities and sizes from one end of the disk to the other, in bounded memory.</summary>
/// <remarks>
/// Holds one window of bits and one page of each source: 1 MiB, and at most 2 MiB for each source. Uniform pages are not read.
/// One reading at a time.
/// </remarks>
internal sealed class MergedBitmapReader
{
    // Spans 2^23 bits: 4 GiB of disk at the smallest granularity, so that a window starts at a granule of any source.
    private const int WindowShift = 23;

    private readonly BitmapGeometry _geometry;
    private readonly (IBitmapPages Pages, PageBuffer Buffer)[] _sources;
    private readonly ulong[] _window;

    /// <summary>Creates a reader.</summary>
    /// <param name="sources">The bitmaps; each counts as clean past its own end.</param>
    /// <param name="sizeBytes">The disk's size.</param>
    /// <param name="granularityBits">The granularity of the union as a power of two; finer sources are rounded out.</param>
    public MergedBitmapReader(IEnumerable<IBitmapPages> sources, long sizeBytes, int granularityBits)
    {
        _geometry = new BitmapGeometry(sizeBytes, granularityBits, WindowShift);
        _sources = [.. sources.Select(static source => (source, new PageBuffer()))];
        _window = new ulong[BitmapGeometry.WordsFor((int)Math.Min(1L << WindowShift, _geometry.BitCount))];
    }

    /// <summary>Counts the dirty granules of the union, and their bytes, cut at the disk's end.</summary>
    public async ValueTask<DirtyCount> CountAsync(CancellationToken cancellationToken)
    {
        long bits = 0;
        bool isLastDirty = false;
        for (int window = 0; window < _geometry.PageCount; window++)
        {
            isLastDirty = false;
            if (await FillWindowAsync(window, cancellationToken).ConfigureAwait(false))
            {
                int bitsInWindow = _geometry.BitsIn(window);
                bits += BitKernels.Count(_window.AsSpan(0, BitmapGeometry.WordsFor(bitsInWindow)));
                isLastDirty = BitKernels.Find(_window, bitsInWindow - 1, bitsInWindow, true) < bitsInWindow;
            }
        }

        return new DirtyCount(bits, _geometry.DirtyBytes(bits, isLastDirty));
    }

    /// <summary>Yields the ranges of the union in ascending order, neighbours joined.</summary>
    public async IAsyncEnumerable<DirtyExtent> ReadExtentsAsync(
        bool includeClean, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        long runStart = 0;
        bool runIsDirty = false;
        for (int window = 0; window < _geometry.PageCount; window++)
        {
            bool hasDirty = await FillWindowAsync(window, cancellationToken).ConfigureAwait(false);
            int bits = _geometry.BitsIn(window);
            long firstBit = _geometry.FirstBit(window);
            for (int bit = 0; bit < bits;)
            {
                int change = hasDirty ? BitKernels.Find(_window, bit, bits, !runIsDirty) : runIsDirty ? 0 : bits;
                if (change == bits)
                {
                    break;
                }

                if ((runIsDirty || includeClean) && firstBit + change > runStart)
                {
                    yield return Extent(runStart, firstBit + change, runIsDirty);
                }

                runStart = firstBit + change;
                runIsDirty = !runIsDirty;
                bit = change;
            }
        }

        if ((runIsDirty || includeClean) && _geometry.BitCount > runStart)
        {
            yield return Extent(runStart, _geometry.BitCount, runIsDirty);
        }
    }

    private DirtyExtent Extent(long firstBit, long endBit, bool isDirty)
    {
        long offset = _geometry.StartOfBit(firstBit);
        return new DirtyExtent(offset, _geometry.StartOfBit(endBit) - offset, isDirty);
    }

    /// <summary>Reads a window.</summary>
    /// <returns>Whether anything in it may be dirty; if not, its words are not those of this window.</returns>
    private async ValueTask<bool> FillWindowAsync(int window, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        int bits = _geometry.BitsIn(window);
        var target = new PageMerge.Piece(_geometry.FirstBit(window), bits, _geometry.GranularityBits);
        bool isCleared = false;
        foreach ((IBitmapPages Pages, PageBuffer Buffer) source in _sources)
        {
            long limit = Math.Min(_geometry.SizeBytes, source.Pages.SizeBytes);
            if (!isCleared && PageBuffer.KindWithin(source.Pages, target, limit) != BitmapPageKind.AllClean)
            {
                _window.AsSpan(0, BitmapGeometry.WordsFor(bits)).Clear();
                isCleared = true;
            }

            if (isCleared)
            {
                await source.Buffer.OrAsync(source.Pages, target, _window, limit, cancellationToken).ConfigureAwait(false);
            }
        }

        return isCleared;
    }
}
