namespace Qcow2Bitmaps.Copying;

/// <summary>A part of the disk that is to be written, in bytes.</summary>
internal readonly record struct CopyWrite(long OffsetBytes, long EndBytes, bool IsZero)
{
    /// <summary>Adds a part, or lengthens the last one by it.</summary>
    public static void Add(List<CopyWrite> writes, long start, long end, bool isZero)
    {
        if (writes.Count > 0 && writes[^1] is { } last && last.EndBytes == start && last.IsZero == isZero)
        {
            writes[^1] = last with { EndBytes = end };
        }
        else
        {
            writes.Add(new CopyWrite(start, end, isZero));
        }
    }
}
