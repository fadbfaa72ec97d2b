using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Counts what is read of a storage and written to it.</summary>
internal sealed class CountingStorage(ImageStorage inner) : ImageStorage
{
    public long BytesRead { get; private set; }

    public List<(long Offset, int Length)> Reads { get; } = [];

    public List<(long Offset, int Length)> Writes { get; } = [];

    public int Flushes { get; private set; }

    public override string Name => inner.Name;

    public override long Length => inner.Length;

    public override bool CanWrite => inner.CanWrite;

    public override async ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int read = await inner.ReadAsync(offset, buffer, cancellationToken);
        BytesRead += read;
        Reads.Add((offset, read));
        return read;
    }

    public override ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        Writes.Add((offset, buffer.Length));
        return inner.WriteAsync(offset, buffer, cancellationToken);
    }

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default)
    {
        Flushes++;
        return inner.FlushAsync(cancellationToken);
    }

    public override ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default) =>
        inner.SetLengthAsync(length, cancellationToken);

    public override ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        inner.DiscardAsync(offset, length, cancellationToken);

    public override ValueTask DisposeAsync() => inner.DisposeAsync();
}
