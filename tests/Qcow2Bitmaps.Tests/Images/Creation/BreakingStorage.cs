using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Images.Creation;

/// <summary>A storage in memory that breaks at an operation that changes something; perhaps one that cannot grow.</summary>
internal sealed class BreakingStorage(byte[] content, int breaksAt, bool isFixed) : ImageStorage
{
    private readonly MemoryStorage _memory = new(content);
    private int _operations;

    public override string Name => "breaking";

    public override long Length => _memory.Length;

    public override bool CanWrite => true;

    public override long? CapacityBytes => isFixed ? content.Length : null;

    /// <summary>The operations up to now; the one that broke is the last.</summary>
    public int Operations => _operations;

    public byte[] ToArray() => _memory.ToArray();

    public override ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        _memory.ReadAsync(offset, buffer, cancellationToken);

    public override async ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        Assert.True(!isFixed || offset + buffer.Length <= content.Length, "A write behind the end");
        if (++_operations == breaksAt)
        {
            // The last write is torn: half of it arrives.
            await _memory.WriteAsync(offset, buffer[..(buffer.Length / 1024 * 512)], cancellationToken);
            throw new IOException("broken");
        }

        await _memory.WriteAsync(offset, buffer, cancellationToken);
    }

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default) =>
        ++_operations == breaksAt ? throw new IOException("broken") : _memory.FlushAsync(cancellationToken);

    public override ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default)
    {
        Assert.False(isFixed, "A change of length of what has a fixed one");
        return ++_operations == breaksAt ? throw new IOException("broken") : _memory.SetLengthAsync(length, cancellationToken);
    }

    public override ValueTask DisposeAsync() => _memory.DisposeAsync();
}
