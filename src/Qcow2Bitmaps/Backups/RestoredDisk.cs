using Qcow2Bitmaps.Copying;

namespace Qcow2Bitmaps.Backups;

/// <summary>
/// A disk to which backups are written one over another, from the oldest on. Of each, it takes the part within the disk's final size.
/// </summary>
/// <param name="target">The disk to write, which initially reads as zeros.</param>
/// <param name="sizeBytes">The disk's final size, in bytes.</param>
internal sealed class RestoredDisk(Disk target, long sizeBytes) : Disk
{
    private readonly ItemCopier _copier = new(target);
    // The end of the part that may have been written.
    private long _writtenBytes;

    public override string Name => target.Name;

    public override long SizeBytes => sizeBytes;

    public override int ClusterBytes => GroupDigests.BlockBytes;

    public override bool CanWrite => true;

    /// <summary>Checksums include zeros.</summary>
    internal override bool HoldsZeros => true;

    /// <summary>Begins a backup: the part beyond its end is made to read as zeros.</summary>
    public ValueTask BeginAsync(BackupManifest layer, CancellationToken cancellationToken) =>
        WriteZerosAsync(layer.SizeBytes, Math.Max(0, sizeBytes - layer.SizeBytes), mayUnmap: true, cancellationToken);

    /// <summary>Ends the backup.</summary>
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
