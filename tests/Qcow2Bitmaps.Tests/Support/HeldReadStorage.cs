using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>A storage that holds one read back: its bytes are those from before, its caller gets them later.</summary>
internal sealed class HeldReadStorage(ImageStorage inner) : ImageStorage
{
    private readonly TaskCompletionSource _begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _released = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _heldOffset = -1;

    /// <summary>Done when the read is held.</summary>
    public Task Begun => _begun.Task;

    public override string Name => inner.Name;

    public override long Length => inner.Length;

    public override bool CanWrite => true;

    /// <summary>Holds the next read at an offset.</summary>
    public void Hold(long offset) => Volatile.Write(ref _heldOffset, offset);

    /// <summary>Lets it go on.</summary>
    public void Release() => _released.SetResult();

    public override async ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int read = await inner.ReadAsync(offset, buffer, cancellationToken);
        if (Interlocked.CompareExchange(ref _heldOffset, -1, offset) == offset)
        {
            _begun.SetResult();
            await _released.Task.WaitAsync(cancellationToken);
        }

        return read;
    }

    public override ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        inner.WriteAsync(offset, buffer, cancellationToken);

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default) => inner.FlushAsync(cancellationToken);

    public override ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default) =>
        inner.SetLengthAsync(length, cancellationToken);

    public override ValueTask DisposeAsync() => inner.DisposeAsync();
}
