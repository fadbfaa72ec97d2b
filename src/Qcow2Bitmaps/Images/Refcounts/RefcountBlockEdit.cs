using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>A refcount block in memory that was changed: what it was, what it is to be, and which sectors differ from what was written
/// last.</summary>
internal sealed class RefcountBlockEdit
{
    private readonly byte[]? _original;
    private readonly ChangedSectors _changed;
    private readonly ChangedSectors _written;

    private RefcountBlockEdit(long offset, byte[] bytes, byte[]? original)
    {
        Offset = offset;
        Bytes = bytes;
        _original = original;
        _changed = new ChangedSectors(bytes.Length, isNew: original is null);
        _written = new ChangedSectors(bytes.Length, isNew: false);
    }

    /// <summary>Where the block stands, in bytes from the start of the file.</summary>
    public long Offset { get; }

    /// <summary>The counts as they are to be.</summary>
    public byte[] Bytes { get; }

    public static RefcountBlockEdit OfExisting(long offset, ReadOnlySpan<byte> bytes) => new(offset, bytes.ToArray(), bytes.ToArray());

    public static RefcountBlockEdit OfNew(long offset, int clusterSizeBytes) => new(offset, new byte[clusterSizeBytes], null);

    /// <summary>Says that bytes have changed.</summary>
    public void Touch(int firstByte, int lastByte) => _changed.Add(firstByte, lastByte);

    /// <summary>Writes the sectors that have changed since the last time, neighbours together.</summary>
    public async ValueTask WriteAsync(ImageStorage storage, CancellationToken cancellationToken)
    {
        _written.UnionWith(_changed);
        await WriteSectorsAsync(storage, Bytes, _changed, cancellationToken).ConfigureAwait(false);
        _changed.Clear();
    }

    /// <summary>Writes back what was there before; of a new block nothing, as nothing names it.</summary>
    public ValueTask RestoreAsync(ImageStorage storage, CancellationToken cancellationToken) => _original is null
        ? ValueTask.CompletedTask
        : WriteSectorsAsync(storage, _original, _written, cancellationToken);

    private async ValueTask WriteSectorsAsync(
        ImageStorage storage, byte[] bytes, ChangedSectors sectors, CancellationToken cancellationToken)
    {
        foreach ((int start, int length) in sectors.Runs())
        {
            await storage.WriteAsync(Offset + start, bytes.AsMemory(start, length), cancellationToken).ConfigureAwait(false);
        }
    }
}
