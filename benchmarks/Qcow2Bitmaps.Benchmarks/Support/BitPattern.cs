namespace Qcow2Bitmaps.Benchmarks.Support;

/// <summary>What the bits of a generated bitmap look like.</summary>
public enum BitPattern
{
    /// <summary>Each bit is dirty or clean for itself, one in four dirty; no page is uniform.</summary>
    Random,
    /// <summary>Dirty and clean runs in turn, of 1 to 4096 bits; no page is uniform.</summary>
    Runs,
    /// <summary>One page in 64 as <see cref="Random"/>, one in 64 all dirty, all others clean.</summary>
    Sparse,
}
