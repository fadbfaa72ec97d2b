using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images;

namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>A qcow2 image, through its writer.</summary>
internal sealed class WriterBackupTarget(GuestWriter writer, ImageChain? owned) : BackupTarget
{
    public override string Name => writer.Image.Name;

    public override long SizeBytes => writer.SizeBytes;

    public override int ClusterBytes => writer.Image.ClusterSizeBytes;

    public override bool CanCompress => writer.CanCompress;

    internal override object Identity => writer.Image.Storage.Identity is { } identity ? identity : writer.Image;

    internal override ValueTask<long> FindZerosEndAsync(long offsetBytes, CancellationToken cancellationToken) =>
        owned is null || writer.HasRawDataFile ? writer.FindZerosEndAsync(offsetBytes, cancellationToken) : owned.FindZerosEndAsync(offsetBytes, SizeBytes, cancellationToken);

    public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) =>
        writer.WriteAsync(offsetBytes, bytes, cancellationToken);

    public override async ValueTask WriteCompressedAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        for (int at = 0; at < bytes.Length; at += ClusterBytes)
        {
            await writer.WriteCompressedAsync(offsetBytes + at, bytes.Slice(at, Math.Min(ClusterBytes, bytes.Length - at)), cancellationToken).ConfigureAwait(false);
        }
    }

    public override ValueTask WriteZerosAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken) =>
        writer.WriteZerosAsync(offsetBytes, lengthBytes, mayUnmap: true, cancellationToken);

    public override ValueTask FlushAsync(CancellationToken cancellationToken) => writer.FlushAsync(cancellationToken);

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync().ConfigureAwait(false);
        if (owned is null)
        {
            return;
        }

        try
        {
            await writer.DisposeAsync().ConfigureAwait(false);
        }
        finally
        {
            await owned.DisposeAsync().ConfigureAwait(false);
        }
    }
}
