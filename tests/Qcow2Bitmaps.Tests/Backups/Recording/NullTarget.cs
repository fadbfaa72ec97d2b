namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>A target that takes anything.</summary>
internal sealed class NullTarget(long sizeBytes) : Disk
{
    public override string Name => "null";

    public override long SizeBytes => sizeBytes;

    public override int ClusterBytes => 65536;

    public override bool CanWrite => true;

    public override ValueTask<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException();

    public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default) =>
        ValueTask.CompletedTask;

    public override ValueTask WriteZerosAsync(
        long offsetBytes, long lengthBytes, bool mayUnmap = false, CancellationToken cancellationToken = default) =>
        ValueTask.CompletedTask;

    // A job that is not cancelled never ends.
    public override async ValueTask FlushAsync(CancellationToken cancellationToken = default) =>
        await Task.Delay(cancellationToken.CanBeCanceled ? Timeout.InfiniteTimeSpan : TimeSpan.Zero, cancellationToken);
}
