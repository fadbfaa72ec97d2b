using System.Diagnostics;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>An image of a chain that takes over what those above it have: a qcow2 image through its writer, or a raw one.</summary>
/// <param name="writer">Its writer; null of a raw one.</param>
/// <param name="map">The chain from the image on down.</param>
/// <param name="storage">The image.</param>
/// <param name="image">The image; null of a raw one.</param>
/// <param name="zeroFromBytes">From where on it reads as zeros.</param>
internal sealed class LayerTarget(GuestWriter? writer, ChainMap map, ImageStorage storage, Qcow2Image? image, long zeroFromBytes) : ICopyTarget
{
    private const int SectorBytes = 512;
    private const int ZeroBytes = 1 << 20;

    private static readonly byte[] s_zeros = new byte[ZeroBytes];
    private readonly ImageStorage _data = storage.GuestData;
    private long _writtenBytes;

    /// <summary>How many bytes of the disk were written or made zeros.</summary>
    public long WrittenBytes => _writtenBytes;

    public long ZeroFromBytes => zeroFromBytes;

    public ChainMap? Map => writer is { HasRawDataFile: false } ? map : null;

    public int UnitBytes => image?.Geometry.SubclusterSizeBytes ?? SectorBytes;

    public int ClusterBytes => image?.ClusterSizeBytes ?? SectorBytes;

    public async ValueTask ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        if (writer is not null)
        {
            await writer.ReadAsync(offset, buffer, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            await _data.ReadZeroFilledAsync(offset, buffer, cancellationToken).ConfigureAwait(false);
        }
    }

    public ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> bytes, BytesOrigin? origin, CancellationToken cancellationToken)
    {
        Interlocked.Add(ref _writtenBytes, bytes.Length);
        return writer is null ? _data.WriteOrCloneAsync(offset, bytes, origin, cancellationToken) : writer.WriteOrCloneAsync(offset, bytes, origin, cancellationToken);
    }

    public async ValueTask WriteZerosAsync(long offset, long length, CancellationToken cancellationToken)
    {
        Interlocked.Add(ref _writtenBytes, length);
        if (writer is not null)
        {
            await writer.WriteZerosAsync(offset, length, mayUnmap: true, cancellationToken).ConfigureAwait(false);
        }
        else if (!await _data.TryZeroAsync(offset, length, cancellationToken).ConfigureAwait(false))
        {
            for (long done = 0; done < length; done += s_zeros.Length)
            {
                await _data.WriteAsync(offset + done, s_zeros.AsMemory(0, (int)Math.Min(s_zeros.Length, length - done)), cancellationToken).ConfigureAwait(false);
            }
        }
    }

    public ValueTask WriteCompressedAsync(long offset, ReadOnlyMemory<byte> cluster, CancellationToken cancellationToken) =>
        throw new UnreachableException("Nothing is compressed inside a chain");

    /// <summary>Makes durable what was written.</summary>
    public ValueTask CompleteAsync(IReadOnlyList<CarriedBitmap> bitmaps, CancellationToken cancellationToken) =>
        writer is null ? _data.FlushAsync(cancellationToken) : writer.FlushAsync(cancellationToken);

    public ValueTask DisposeAsync() => writer?.DisposeAsync() ?? ValueTask.CompletedTask;
}
