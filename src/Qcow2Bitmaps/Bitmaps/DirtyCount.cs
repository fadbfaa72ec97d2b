namespace Qcow2Bitmaps.Bitmaps;

/// <summary>How much of a disk is dirty.</summary>
internal readonly record struct DirtyCount
{
    public DirtyCount(long bits, long bytes)
    {
        Bits = bits;
        Bytes = bytes;
    }

    /// <summary>Dirty granules.</summary>
    public long Bits { get; }

    /// <summary>Their bytes, cut at the disk's end.</summary>
    public long Bytes { get; }
}
