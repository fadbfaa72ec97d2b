using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>A storage whose user is told to stop at a chosen call.</summary>
internal sealed class CancellingStorage(ImageStorage inner, CancellationTokenSource source, bool isDoneFirst) : ImageStorage
{
    /// <summary>The call in which the user is told, from 1; 0 for none.</summary>
    public int CancellingCall { get; set; }

    /// <summary>Reads, writes, flushes, changes of length and discards so far.</summary>
    public int Calls { get; private set; }

    public override string Name => inner.Name;

    public override long Length => inner.Length;

    public override bool CanWrite => inner.CanWrite;

    public override long? CapacityBytes => inner.CapacityBytes;

    public override async ValueTask<int> ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int read = 0;
        await CallAsync(async () => read = await inner.ReadAsync(offset, buffer, cancellationToken));
        return read;
    }

    public override ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        CallAsync(() => inner.WriteAsync(offset, buffer, cancellationToken));

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default) =>
        CallAsync(() => inner.FlushAsync(cancellationToken));

    public override ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default) =>
        CallAsync(() => inner.SetLengthAsync(length, cancellationToken));

    public override ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        CallAsync(() => inner.DiscardAsync(offset, length, cancellationToken));

    public override ValueTask DisposeAsync() => inner.DisposeAsync();

    private async ValueTask CallAsync(Func<ValueTask> call)
    {
        bool isChosen = ++Calls == CancellingCall;
        if (isChosen && !isDoneFirst)
        {
            await source.CancelAsync();
        }

        await call();
        if (isChosen && isDoneFirst)
        {
            await source.CancelAsync();
        }
    }
}
