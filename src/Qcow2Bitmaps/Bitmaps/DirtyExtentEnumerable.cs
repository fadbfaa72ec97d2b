namespace Qcow2Bitmaps;

/// <summary>The ranges of a bitmap, for <c>foreach</c> without allocation.</summary>
public readonly struct DirtyExtentEnumerable
{
    private readonly DirtyBitmap _bitmap;
    private readonly bool _includeClean;

    internal DirtyExtentEnumerable(DirtyBitmap bitmap, bool includeClean)
    {
        _bitmap = bitmap;
        _includeClean = includeClean;
    }

    /// <summary>Starts at the disk's first byte.</summary>
    public DirtyExtentEnumerator GetEnumerator() => new(_bitmap, _includeClean);

    /// <summary>Copies the ranges to a list.</summary>
    public IReadOnlyList<DirtyExtent> ToList()
    {
        var extents = new List<DirtyExtent>();
        foreach (DirtyExtent extent in this)
        {
            extents.Add(extent);
        }

        return extents;
    }
}
