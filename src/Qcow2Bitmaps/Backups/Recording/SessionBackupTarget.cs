namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>The disk of a session.</summary>
internal sealed class SessionBackupTarget(RecordingSession session) : BackupTarget
{
    public RecordingSession Session => session;

    public override string Name => session.Name;

    public override long SizeBytes => session.SizeBytes;

    public override int ClusterBytes => session.Image.ClusterSizeBytes;

    public override bool CanCompress => session.CanCompress;

    internal override object Identity => session.Identity;

    internal override ValueTask<long> FindZerosEndAsync(long offsetBytes, CancellationToken cancellationToken) =>
        session.HasRawDataFile ? ValueTask.FromResult(offsetBytes) : session.FindZerosEndAsync(offsetBytes, SizeBytes, cancellationToken);

    public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) =>
        session.WriteAsync(offsetBytes, bytes, cancellationToken);

    public override async ValueTask WriteCompressedAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        for (int at = 0; at < bytes.Length; at += ClusterBytes)
        {
            await session.WriteCompressedAsync(offsetBytes + at, bytes.Slice(at, Math.Min(ClusterBytes, bytes.Length - at)), cancellationToken).ConfigureAwait(false);
        }
    }

    public override ValueTask WriteZerosAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken) =>
        session.WriteZerosAsync(offsetBytes, lengthBytes, mayUnmap: true, cancellationToken);

    public override ValueTask FlushAsync(CancellationToken cancellationToken) => session.FlushAsync(cancellationToken);
}
