using Qcow2Bitmaps.Copying;

namespace Qcow2Bitmaps.Backups;

/// <summary>
/// A disk that backups are written to one over the other, from the oldest on: it takes of each what lies on
/// the disk as it is to be in the end.
/// </summary>
/// <param name="target">What is written, which reads as zeros to begin with.</param>
/// <param name="sizeBytes">The disk's size in the end, in bytes.</param>
internal sealed class RestoredDisk(Disk target, long sizeBytes) : Disk
{
    private readonly ItemCopier _copier = new(target);
    // Up to where something may have been written.
    private long _writtenBytes;

    public override string Name => target.Name;

    public override long SizeBytes => sizeBytes;

    public override int ClusterBytes => GroupDigests.BlockBytes;

    public override bool CanWrite => true;

    /// <summary>Of zeros too checksums are made.</summary>
    internal override bool HoldsZeros => true;

    /// <summary>Begins with a backup: what lies behind its end reads as zeros.</summary>
    public ValueTask BeginAsync(BackupManifest layer, CancellationToken cancellationToken) =>
        WriteZerosAsync(layer.SizeBytes, Math.Max(0, sizeBytes - layer.SizeBytes), mayUnmap: true, cancellationToken);

    /// <summary>Ends with it.</summary>
    public void End(BackupManifest layer) => _writtenBytes = Math.Max(_writtenBytes, Math.Min(layer.SizeBytes, sizeBytes));

    public override ValueTask<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        target.ReadAsync(offsetBytes, buffer, cancellationToken);

    public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default)
    {
        int length = (int)Math.Clamp(sizeBytes - offsetBytes, 0, bytes.Length);
        return length > 0 ? target.WriteAsync(offsetBytes, bytes[..length], cancellationToken) : ValueTask.CompletedTask;
    }

    public override ValueTask WriteZerosAsync(
        long offsetBytes, long lengthBytes, bool mayUnmap = false, CancellationToken cancellationToken = default)
    {
        long end = Math.Min(offsetBytes + lengthBytes, _writtenBytes);
        return offsetBytes < end ? _copier.ZeroAsync(offsetBytes, end, cancellationToken) : ValueTask.CompletedTask;
    }

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default) => target.FlushAsync(cancellationToken);
}
