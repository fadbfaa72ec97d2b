using Qcow2Bitmaps.Backups.Recording;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>A target that takes anything.</summary>
internal sealed class NullTarget(long sizeBytes) : BackupTarget
{
    public override string Name => "null";

    public override long SizeBytes => sizeBytes;

    public override int ClusterBytes => 65536;

    public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    public override ValueTask WriteZerosAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    // A job that is not cancelled never ends.
    public override async ValueTask FlushAsync(CancellationToken cancellationToken) =>
        await Task.Delay(cancellationToken.CanBeCanceled ? Timeout.InfiniteTimeSpan : TimeSpan.Zero, cancellationToken);
}
