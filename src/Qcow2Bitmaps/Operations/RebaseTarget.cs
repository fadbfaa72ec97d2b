using System.Diagnostics;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Operations;

/// <summary>The top image over another backing file: reads what would show through it where the image has nothing, and writes to the image.</summary>
internal sealed class RebaseTarget(GuestWriter writer, Qcow2Image image, ChainMap? backing) : ICopyTarget
{
    private long _writtenBytes;

    /// <summary>How many bytes of the disk were written or made zeros.</summary>
    public long WrittenBytes => _writtenBytes;

    public long ZeroFromBytes => backing?.SizeBytes ?? 0;

    public ChainMap? Map => backing;

    public int UnitBytes => image.Geometry.SubclusterSizeBytes;

    public int ClusterBytes => image.ClusterSizeBytes;

    public async ValueTask ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        if (backing is null)
        {
            buffer.Span.Clear();
        }
        else
        {
            await backing.ReadAsync(0, offset, buffer, cancellationToken).ConfigureAwait(false);
        }
    }

    public ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> bytes, BytesOrigin? origin, CancellationToken cancellationToken)
    {
        Interlocked.Add(ref _writtenBytes, bytes.Length);
        return writer.WriteOrCloneAsync(offset, bytes, origin, cancellationToken);
    }

    public ValueTask WriteZerosAsync(long offset, long length, CancellationToken cancellationToken)
    {
        Interlocked.Add(ref _writtenBytes, length);
        return writer.WriteZerosAsync(offset, length, mayUnmap: true, cancellationToken);
    }

    public ValueTask WriteCompressedAsync(long offset, ReadOnlyMemory<byte> cluster, CancellationToken cancellationToken) =>
        throw new UnreachableException("Nothing is compressed inside a chain");

    public ValueTask CompleteAsync(IReadOnlyList<CarriedBitmap> bitmaps, CancellationToken cancellationToken) => writer.FlushAsync(cancellationToken);

    public ValueTask DisposeAsync() => writer.DisposeAsync();
}
