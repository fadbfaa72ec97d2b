namespace Qcow2Bitmaps.Backups;

/// <summary>A disk that discards everything written to it, for reading alone.</summary>
/// <param name="sizeBytes">Its size in bytes.</param>
internal sealed class NullDisk(long sizeBytes) : Disk
{
    public override string Name => "null";

    public override long SizeBytes => sizeBytes;

    public override int ClusterBytes => GroupDigests.BlockBytes;

    public override bool CanWrite => true;

    /// <summary>Checksums include zeros.</summary>
    internal override bool HoldsZeros => true;

    public override ValueTask<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        ValueTask.FromResult(0);

    public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default) =>
        ValueTask.CompletedTask;

    public override ValueTask WriteZerosAsync(
        long offsetBytes, long lengthBytes, bool mayUnmap = false, CancellationToken cancellationToken = default) =>
        ValueTask.CompletedTask;

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default) => ValueTask.CompletedTask;
}
