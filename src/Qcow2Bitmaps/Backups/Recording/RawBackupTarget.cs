using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images.Creation;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>A raw disk: the bytes of a storage.</summary>
internal sealed class RawBackupTarget(ImageStorage storage, ImageChain? owned) : BackupTarget
{
    private const int SectorBytes = 512;
    private const int ZeroBufferBytes = 1 << 20;

    private static readonly byte[] s_zeros = new byte[ZeroBufferBytes];

    public override string Name => storage.Name;

    public override long SizeBytes { get; } = RawImage.SizeOf(storage);

    public override int ClusterBytes => SectorBytes;

    internal override object Identity => storage.Identity is { } identity ? identity : storage;

    internal override async ValueTask<long> FindZerosEndAsync(long offsetBytes, CancellationToken cancellationToken) =>
        (await storage.FindDataAsync(offsetBytes, cancellationToken).ConfigureAwait(false))?.Offset ?? Math.Max(offsetBytes, storage.Length);

    public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) =>
        storage.WriteAsync(offsetBytes, bytes, cancellationToken);

    public override async ValueTask WriteZerosAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken)
    {
        if (await storage.TryZeroAsync(offsetBytes, lengthBytes, cancellationToken).ConfigureAwait(false))
        {
            return;
        }

        for (long done = 0; done < lengthBytes; done += ZeroBufferBytes)
        {
            await storage.WriteAsync(offsetBytes + done, s_zeros.AsMemory(0, (int)Math.Min(ZeroBufferBytes, lengthBytes - done)), cancellationToken).ConfigureAwait(false);
        }
    }

    public override ValueTask FlushAsync(CancellationToken cancellationToken) => storage.FlushAsync(cancellationToken);

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync().ConfigureAwait(false);
        if (owned is not null)
        {
            await owned.DisposeAsync().ConfigureAwait(false);
        }
    }
}
