namespace Qcow2Bitmaps.Copying;

/// <summary>Observes a copy.</summary>
internal interface ICopyObserver
{
    /// <summary>Called when an item is handed out. Calls are sequential, in the disk's order.</summary>
    /// <param name="offsetBytes">Where it starts on the disk, in bytes.</param>
    void Begin(long offsetBytes);

    /// <summary>Called when an item was written. Calls are concurrent, from all workers, in any order.</summary>
    /// <param name="item">The item.</param>
    /// <param name="buffer">The bytes, starting at the item's start; undefined where nothing was written.</param>
    /// <param name="writes">The writes, in ascending order, without zeros that the target already read.</param>
    void End(CopyItem item, ReadOnlySpan<byte> buffer, IReadOnlyList<CopyWrite> writes);
}
