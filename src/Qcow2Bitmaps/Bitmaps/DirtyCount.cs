namespace Qcow2Bitmaps;

/// <summary>How much of a disk is dirty.</summary>
public readonly record struct DirtyCount
{
    internal DirtyCount(long bits, long bytes)
    {
        Bits = bits;
        Bytes = bytes;
    }

    /// <summary>Dirty granules.</summary>
    public long Bits { get; }

    /// <summary>Their bytes, cut at the disk's end.</summary>
    public long Bytes { get; }
}
