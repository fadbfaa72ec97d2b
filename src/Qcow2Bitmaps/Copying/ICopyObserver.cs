namespace Qcow2Bitmaps.Copying;

/// <summary>Watches a copy.</summary>
internal interface ICopyObserver
{
    /// <summary>An item was given out. Calls come one after the other, in the disk's order.</summary>
    /// <param name="offsetBytes">Where it starts on the disk, in bytes.</param>
    void Begin(long offsetBytes);

    /// <summary>An item was written. Calls come from all workers, side by side, in any order.</summary>
    /// <param name="item">The item.</param>
    /// <param name="buffer">The bytes, from the item's start on; of what was not written, anything.</param>
    /// <param name="writes">What was written, in ascending order; zeros that the target read already are not among it.</param>
    void End(CopyItem item, ReadOnlySpan<byte> buffer, IReadOnlyList<CopyWrite> writes);
}
