using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Memory that cannot grow, as a block device cannot.</summary>
internal sealed class FixedStorage(byte[] content) : ImageStorage
{
    private readonly MemoryStorage _inner = new(content);

    public override string Name => "fixed";

    public override long Length => _inner.Length;

    public override long? CapacityBytes => _inner.Length;

    public override bool CanWrite => true;

    public byte[] ToArray() => _inner.ToArray();

    public override ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        _inner.ReadAsync(offset, buffer, cancellationToken);

    public override ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        offset + buffer.Length <= Length
            ? _inner.WriteAsync(offset, buffer, cancellationToken)
            : throw new IOException("No space left on device");

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default) => _inner.FlushAsync(cancellationToken);

    public override ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default) => throw new IOException("A fixed length");

    public override ValueTask DisposeAsync() => _inner.DisposeAsync();
}
