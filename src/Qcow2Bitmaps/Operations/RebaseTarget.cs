using System.Diagnostics;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Images;

namespace Qcow2Bitmaps.Operations;

/// <summary>The top image over another backing file: reads what would show through it where the image has nothing, and writes to the image.</summary>
internal sealed class RebaseTarget(GuestWriter writer, Qcow2Image image, ChainMap? backing) : ICopyTarget
{
    private static readonly byte[] s_zeros = new byte[1 << 16];

    private long _writtenBytes;

    /// <summary>How many bytes of the disk were written or made zeros.</summary>
    public long WrittenBytes => _writtenBytes;

    public long ZeroFromBytes => backing?.SizeBytes ?? 0;

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

    public ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        Interlocked.Add(ref _writtenBytes, bytes.Length);
        return writer.WriteAsync(offset, bytes, cancellationToken);
    }

    public async ValueTask WriteZerosAsync(long offset, long length, CancellationToken cancellationToken)
    {
        Interlocked.Add(ref _writtenBytes, length);
        if (image.Header.Version >= 3)
        {
            await writer.WriteZerosAsync(offset, length, mayUnmap: true, cancellationToken).ConfigureAwait(false);
            return;
        }

        // Tables of version 2 cannot say so, and what the image does not have reads as zeros only until it has the new backing file.
        for (long done = 0; done < length; done += s_zeros.Length)
        {
            await writer.WriteAsync(offset + done, s_zeros.AsMemory(0, (int)Math.Min(s_zeros.Length, length - done)), cancellationToken).ConfigureAwait(false);
        }
    }

    public ValueTask WriteCompressedAsync(long offset, ReadOnlyMemory<byte> cluster, CancellationToken cancellationToken) =>
        throw new UnreachableException("Nothing is compressed inside a chain");

    public ValueTask CompleteAsync(IReadOnlyList<CarriedBitmap> bitmaps, CancellationToken cancellationToken) => writer.FlushAsync(cancellationToken);

    public ValueTask DisposeAsync() => writer.DisposeAsync();
}
