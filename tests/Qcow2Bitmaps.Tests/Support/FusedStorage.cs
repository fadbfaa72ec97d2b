using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>A storage that, with others, changes no more once a fuse has blown.</summary>
internal sealed class FusedStorage(ImageStorage inner, Fuse fuse) : ImageStorage
{
    public override string Name => inner.Name;

    public override long Length => inner.Length;

    public override bool CanWrite => inner.CanWrite;

    public override long? CapacityBytes => inner.CapacityBytes;

    internal override Int128? LastWrite => inner.LastWrite;

    public override ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        inner.ReadAsync(offset, buffer, cancellationToken);

    public override ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        fuse.CountWrite();
        return inner.WriteAsync(offset, buffer, cancellationToken);
    }

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default)
    {
        fuse.ThrowIfBlown();
        return inner.FlushAsync(cancellationToken);
    }

    public override ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default)
    {
        fuse.ThrowIfBlown();
        return inner.SetLengthAsync(length, cancellationToken);
    }

    public override ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        fuse.ThrowIfBlown();
        return inner.DiscardAsync(offset, length, cancellationToken);
    }

    public override ValueTask DisposeAsync() => inner.DisposeAsync();
}
