using Qcow2Bitmaps.Backups.Recording;

namespace Qcow2Bitmaps.Qmp.Commands;

/// <summary>A placeholder that is never written, to check whether a backup would start.</summary>
internal sealed class UnopenedTarget(long sizeBytes) : BackupTarget
{
    public override string Name => "";

    public override long SizeBytes => sizeBytes;

    public override int ClusterBytes => 1 << 16;

    // The real target is checked again when it is open.
    public override bool CanCompress => true;

    public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    public override ValueTask WriteZerosAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    public override ValueTask FlushAsync(CancellationToken cancellationToken) => throw new NotSupportedException();
}
