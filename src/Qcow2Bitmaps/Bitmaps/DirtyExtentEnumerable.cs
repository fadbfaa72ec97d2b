namespace Qcow2Bitmaps.Bitmaps;

/// <summary>The ranges of a bitmap, for <c>foreach</c> without allocation.</summary>
internal struct DirtyExtentEnumerable
{
    private readonly DirtyBitmap _bitmap;
    private readonly bool _includeClean;
    private long _bit;

    public DirtyExtentEnumerable(DirtyBitmap bitmap, bool includeClean)
    {
        _bitmap = bitmap;
        _includeClean = includeClean;
    }

    /// <summary>The range that the last <see cref="MoveNext"/> found.</summary>
    public DirtyExtent Current { get; private set; }

    /// <summary>Starts at the disk's first byte.</summary>
    public readonly DirtyExtentEnumerable GetEnumerator() => new(_bitmap, _includeClean);

    /// <summary>Steps to the next range.</summary>
    /// <returns>False behind the last one.</returns>
    public bool MoveNext()
    {
        // Ranges alternate; only the first one's value has to be looked up.
        bool isDirty = !_includeClean || (_bit == 0 ? _bitmap.BitCount > 0 && _bitmap.Find(0, true) == 0 : !Current.IsDirty);
        long start = _includeClean ? _bit : _bitmap.Find(_bit, true);
        if (start >= _bitmap.BitCount)
        {
            return false;
        }

        _bit = _bitmap.Find(start, !isDirty);
        long offset = _bitmap.StartOfBit(start);
        Current = new DirtyExtent(offset, _bitmap.StartOfBit(_bit) - offset, isDirty);
        return true;
    }
}
