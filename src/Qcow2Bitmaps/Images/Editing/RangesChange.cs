using Qcow2Bitmaps.Bitmaps;

namespace Qcow2Bitmaps.Images.Editing;

/// <summary>Sets ranges of bits, or clears them, in any order.</summary>
internal sealed class RangesChange(bool value) : IContentChange
{
    private readonly List<(long FirstBit, long EndBit)> _ranges = [];
    private bool _isSorted = true;

    public bool Value => value;

    /// <summary>Adds a range of bits.</summary>
    public void Add(long firstBit, long endBit)
    {
        _isSorted = _isSorted && (_ranges.Count == 0 || firstBit > _ranges[^1].EndBit);
        _ranges.Add((firstBit, endBit));
    }

    public PageEffect EffectOn(PageMerge.Piece page, long sizeBytes)
    {
        int index = FirstEndingBehind(page.FirstBit);
        if (index == _ranges.Count || _ranges[index].FirstBit >= page.FirstBit + page.BitCount)
        {
            return PageEffect.None;
        }

        bool coversAll = _ranges[index].FirstBit <= page.FirstBit && _ranges[index].EndBit >= page.FirstBit + page.BitCount;
        return (coversAll, value) switch
        {
            (true, true) => PageEffect.MakesDirty,
            (true, false) => PageEffect.MakesClean,
            (false, true) => PageEffect.AddsBits,
            _ => PageEffect.TakesBits,
        };
    }

    public ValueTask ApplyAsync(
        PageMerge.Piece page, Memory<ulong> words, long sizeBytes, PageBuffer buffer, CancellationToken cancellationToken)
    {
        long pageEnd = page.FirstBit + page.BitCount;
        for (int i = FirstEndingBehind(page.FirstBit); i < _ranges.Count && _ranges[i].FirstBit < pageEnd; i++)
        {
            int first = (int)(Math.Max(_ranges[i].FirstBit, page.FirstBit) - page.FirstBit);
            BitKernels.Fill(words.Span, first, (int)(Math.Min(_ranges[i].EndBit, pageEnd) - page.FirstBit), value);
        }

        return ValueTask.CompletedTask;
    }

    private int FirstEndingBehind(long bit)
    {
        if (!_isSorted)
        {
            SortAndJoin();
        }

        int low = 0;
        for (int high = _ranges.Count; low < high;)
        {
            int middle = (low + high) / 2;
            (low, high) = _ranges[middle].EndBit <= bit ? (middle + 1, high) : (low, middle);
        }

        return low;
    }

    private void SortAndJoin()
    {
        _ranges.Sort();
        int last = 0;
        for (int i = 1; i < _ranges.Count; i++)
        {
            if (_ranges[i].FirstBit <= _ranges[last].EndBit)
            {
                _ranges[last] = (_ranges[last].FirstBit, Math.Max(_ranges[last].EndBit, _ranges[i].EndBit));
            }
            else
            {
                _ranges[++last] = _ranges[i];
            }
        }

        _ranges.RemoveRange(last + 1, _ranges.Count - last - 1);
        _isSorted = true;
    }
}
