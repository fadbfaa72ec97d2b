using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>A changed refcount block in memory: its old and its new bytes, and which sectors differ from the last write.</summary>
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

    /// <summary>The block's offset, in bytes from the start of the file.</summary>
    public long Offset { get; }

    /// <summary>The new counts.</summary>
    public byte[] Bytes { get; }

    public static RefcountBlockEdit OfExisting(long offset, ReadOnlySpan<byte> bytes) => new(offset, bytes.ToArray(), bytes.ToArray());

    public static RefcountBlockEdit OfNew(long offset, int clusterSizeBytes) => new(offset, new byte[clusterSizeBytes], null);

    /// <summary>Marks bytes as changed.</summary>
    public void Touch(int firstByte, int lastByte) => _changed.Add(firstByte, lastByte);

    /// <summary>Writes the sectors that changed since the last write, adjacent ones together.</summary>
    public async ValueTask WriteAsync(ImageStorage storage, CancellationToken cancellationToken)
    {
        _written.UnionWith(_changed);
        await WriteSectorsAsync(storage, Bytes, _changed, cancellationToken).ConfigureAwait(false);
        _changed.Clear();
    }

    /// <summary>Restores the old bytes; does nothing for a new block, as nothing refers to it.</summary>
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
