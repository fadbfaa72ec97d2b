using Qcow2Bitmaps.Backups.Recording;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>A target that fails from some place on.</summary>
internal sealed class FailingTarget(long sizeBytes, long failsFrom) : BackupTarget
{
    public bool IsDisposed { get; private set; }

    public override string Name => "failing";

    public override long SizeBytes => sizeBytes;

    public override int ClusterBytes => 512;

    public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) =>
        offsetBytes >= failsFrom ? throw new IOException("The target fails") : ValueTask.CompletedTask;

    public override ValueTask WriteZerosAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    public override ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    public override ValueTask DisposeAsync()
    {
        IsDisposed = true;
        return base.DisposeAsync();
    }
}
