using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>A large file that takes little memory: some bytes, and behind them one block many times.</summary>
internal sealed class RepeatingStorage(byte[] start, byte[] block, int count) : ImageStorage
{
    public int BlocksRead { get; private set; }

    public override string Name => "repeating";

    public override long Length => start.Length + ((long)block.Length * count);

    public override bool CanWrite => false;

    public override ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        Span<byte> destination = buffer.Span;
        if (offset < start.Length)
        {
            start.AsSpan((int)offset, Math.Min(buffer.Length, start.Length - (int)offset)).CopyTo(destination);
            return ValueTask.FromResult(buffer.Length);
        }

        if ((offset - start.Length) % block.Length != 0 || buffer.Length != block.Length)
        {
            throw new ArgumentException("Only whole blocks are here", nameof(offset));
        }

        block.CopyTo(destination);
        BlocksRead++;
        return ValueTask.FromResult(buffer.Length);
    }

    public override ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException();

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default) => throw new NotSupportedException();

    public override ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException();

    public override ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
