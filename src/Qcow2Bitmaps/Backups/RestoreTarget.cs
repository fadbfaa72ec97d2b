using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups;

/// <summary>What backups are written over one another to, from the oldest on: takes of each what lies on the disk as it is to be in the end.</summary>
/// <param name="target">The target, new.</param>
/// <param name="sizeBytes">Its size in bytes.</param>
internal sealed class RestoreTarget(ICopyTarget target, long sizeBytes) : ICopyTarget
{
    // Up to where something may have been written.
    private long _writtenBytes;

    /// <summary>That of the backup in work: what a checksum is made of, whether or not zeros have to be written.</summary>
    public long ZeroFromBytes { get; private set; }

    /// <summary>Of zeros too checksums are made.</summary>
    public ChainMap? Map => null;

    public int UnitBytes => GroupDigests.BlockBytes;

    public int ClusterBytes => GroupDigests.BlockBytes;

    /// <summary>Sees to it that all reads as zeros.</summary>
    public async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        if (target.ZeroFromBytes > 0 && sizeBytes > 0)
        {
            // A device, which has anything.
            await target.WriteZerosAsync(0, sizeBytes, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Begins with a backup: what lies behind its end reads as zeros.</summary>
    public async ValueTask BeginAsync(BackupManifest layer, CancellationToken cancellationToken)
    {
        ZeroFromBytes = LayerReplay.ZeroFrom(layer);
        await WriteZerosAsync(layer.SizeBytes, Math.Max(0, sizeBytes - layer.SizeBytes), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Ends with it.</summary>
    public void End(BackupManifest layer) => _writtenBytes = Math.Max(_writtenBytes, Math.Min(layer.SizeBytes, sizeBytes));

    public ValueTask ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) => target.ReadAsync(offset, buffer, cancellationToken);

    public ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> bytes, BytesOrigin? origin, CancellationToken cancellationToken)
    {
        int length = (int)Math.Clamp(sizeBytes - offset, 0, bytes.Length);
        return length > 0 ? target.WriteAsync(offset, bytes[..length], origin, cancellationToken) : ValueTask.CompletedTask;
    }

    public ValueTask WriteZerosAsync(long offset, long length, CancellationToken cancellationToken)
    {
        long end = Math.Min(offset + length, _writtenBytes);
        return offset < end ? target.ZeroAsync(offset, end, cancellationToken) : ValueTask.CompletedTask;
    }

    public ValueTask WriteCompressedAsync(long offset, ReadOnlyMemory<byte> cluster, CancellationToken cancellationToken) => WriteAsync(offset, cluster, null, cancellationToken);

    public ValueTask CompleteAsync(IReadOnlyList<CarriedBitmap> bitmaps, CancellationToken cancellationToken) => target.CompleteAsync(bitmaps, cancellationToken);

    public ValueTask DisposeAsync() => target.DisposeAsync();
}
