using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>A storage that cannot grow, as a block device: its length is its capacity.</summary>
internal sealed class FixedSizeStorage(ImageStorage inner) : ImageStorage
{
    private readonly long _capacityBytes = inner.Length;

    public override string Name => inner.Name;

    public override long Length => _capacityBytes;

    public override bool CanWrite => inner.CanWrite;

    public override long? CapacityBytes => _capacityBytes;

    public override ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        inner.ReadAsync(offset, buffer, cancellationToken);

    public override async ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (offset + buffer.Length > _capacityBytes)
        {
            // A device takes what fits.
            if (offset < _capacityBytes)
            {
                await inner.WriteAsync(offset, buffer[..(int)(_capacityBytes - offset)], cancellationToken);
            }

            throw new IOException("No space left on device", 28);
        }

        await inner.WriteAsync(offset, buffer, cancellationToken);
    }

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default) => inner.FlushAsync(cancellationToken);

    public override ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default) =>
        throw new IOException($"'{Name}' has a fixed length of {_capacityBytes} bytes");

    public override ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        inner.DiscardAsync(offset, length, cancellationToken);

    public override ValueTask DisposeAsync() => inner.DisposeAsync();
}
