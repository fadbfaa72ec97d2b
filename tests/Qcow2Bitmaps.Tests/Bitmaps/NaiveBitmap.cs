namespace Qcow2Bitmaps.Tests.Bitmaps;

/// <summary>A dirty bitmap as one would explain it: an array of truth values. What <see cref="DirtyBitmap"/> is compared with.</summary>
internal sealed class NaiveBitmap(long sizeBytes, long granularityBytes)
{
    public bool[] Bits { get; } = new bool[(sizeBytes + granularityBytes - 1) / granularityBytes];

    public long SizeBytes => sizeBytes;

    public long GranularityBytes => granularityBytes;

    public long StartOf(long bit) => bit * granularityBytes;

    public long EndOf(long bit) => Math.Min((bit + 1) * granularityBytes, sizeBytes);

    public void Set(long offset, long length)
    {
        for (long bit = 0; bit < Bits.Length; bit++)
        {
            Bits[bit] |= length > 0 && StartOf(bit) < offset + length && EndOf(bit) > offset;
        }
    }

    public void Clear(long offset, long length)
    {
        for (long bit = 0; bit < Bits.Length; bit++)
        {
            Bits[bit] &= !(offset <= StartOf(bit) && offset + length >= EndOf(bit));
        }
    }

    public void Merge(NaiveBitmap other)
    {
        for (long bit = 0; bit < Bits.Length; bit++)
        {
            Bits[bit] |= other.IsAnyDirty(StartOf(bit), EndOf(bit));
        }
    }

    public void Intersect(NaiveBitmap other)
    {
        for (long bit = 0; bit < Bits.Length; bit++)
        {
            Bits[bit] &= other.IsAnyDirty(StartOf(bit), EndOf(bit));
        }
    }

    public void Subtract(NaiveBitmap other)
    {
        for (long bit = 0; bit < Bits.Length; bit++)
        {
            Bits[bit] &= !other.IsAllDirty(StartOf(bit), EndOf(bit));
        }
    }

    public IReadOnlyList<DirtyExtent> Extents()
    {
        var extents = new List<DirtyExtent>();
        for (long bit = 0; bit < Bits.Length; bit++)
        {
            if (extents.Count > 0 && extents[^1].IsDirty == Bits[bit])
            {
                extents[^1] = extents[^1] with { LengthBytes = EndOf(bit) - extents[^1].OffsetBytes };
            }
            else
            {
                extents.Add(new DirtyExtent(StartOf(bit), EndOf(bit) - StartOf(bit), Bits[bit]));
            }
        }

        return extents;
    }

    private bool IsAnyDirty(long start, long end)
    {
        for (long bit = start / granularityBytes; bit < Bits.Length && StartOf(bit) < end; bit++)
        {
            if (Bits[bit] && EndOf(bit) > start)
            {
                return true;
            }
        }

        return false;
    }

    private bool IsAllDirty(long start, long end)
    {
        for (long bit = start / granularityBytes; StartOf(bit) < end; bit++)
        {
            if (bit >= Bits.Length || !Bits[bit] || (EndOf(bit) < end && bit == Bits.Length - 1))
            {
                return false;
            }
        }

        return true;
    }
}
