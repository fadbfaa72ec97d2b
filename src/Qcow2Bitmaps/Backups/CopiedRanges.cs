using Qcow2Bitmaps.Copying;

namespace Qcow2Bitmaps.Backups;

/// <summary>Notes what has been copied, for a copy that may fail.</summary>
internal sealed class CopiedRanges(ICopyObserver next, DirtyBitmap copied) : ICopyObserver
{
    private readonly Lock _gate = new();

    public void Begin(long offsetBytes) => next.Begin(offsetBytes);

    public void End(CopyItem item, ReadOnlySpan<byte> buffer, IReadOnlyList<CopyWrite> writes)
    {
        next.End(item, buffer, writes);
        lock (_gate)
        {
            copied.Set(item.OffsetBytes, item.EndBytes - item.OffsetBytes);
        }
    }
}
