namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>A target in memory whose data wait until it is opened.</summary>
internal sealed class GatedTarget(int sizeBytes) : Disk
{
    private readonly TaskCompletionSource _opened = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _reached = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public byte[] Content { get; } = new byte[sizeBytes];

    /// <summary>Ends once somebody waits.</summary>
    public Task Reached => _reached.Task;

    public override string Name => "gated";

    public override long SizeBytes => sizeBytes;

    public override int ClusterBytes => 65536;

    public override bool CanWrite => true;

    public override ValueTask<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException();

    public void Open() => _opened.TrySetResult();

    public override async ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default)
    {
        RequireWhole(offsetBytes, bytes.Length);
        _reached.TrySetResult();
        await _opened.Task.WaitAsync(cancellationToken);
        bytes.CopyTo(Content.AsMemory((int)offsetBytes));
    }

    public override ValueTask WriteZerosAsync(
        long offsetBytes, long lengthBytes, bool mayUnmap = false, CancellationToken cancellationToken = default)
    {
        RequireWhole(offsetBytes, lengthBytes);
        Content.AsSpan((int)offsetBytes, (int)lengthBytes).Clear();
        return ValueTask.CompletedTask;
    }

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default) => ValueTask.CompletedTask;

    private void RequireWhole(long offset, long length) =>
        Assert.True(offset % ClusterBytes == 0 && (offset + length == SizeBytes || length % ClusterBytes == 0), $"{offset} {length}");
}
