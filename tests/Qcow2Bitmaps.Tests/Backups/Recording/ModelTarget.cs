namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>
/// A target that knows which of its units were written, holds its job until it is released, and fails when it is told to.
/// </summary>
internal sealed class ModelTarget : Disk
{
    public const int UnitBytes = 64 << 10;
    public const byte Untouched = 0xEE;

    private readonly TaskCompletionSource _released = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _fails;

    public ModelTarget() => Array.Fill(Content, Untouched);

    public byte[] Content { get; } = new byte[RecordCase.DiskBytes];

    public bool[] Written { get; } = new bool[(RecordCase.DiskBytes + UnitBytes - 1) / UnitBytes];

    public override string Name => "model";

    public override long SizeBytes => Content.Length;

    public override int ClusterBytes => 512;

    public override bool CanWrite => true;

    public override ValueTask<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException();

    public void Fail() => _fails = true;

    /// <summary>Lets the job come to its end.</summary>
    public void Release() => _released.TrySetResult();

    public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default)
    {
        if (_fails)
        {
            throw new IOException("The target fails");
        }

        Assert.True(
            offsetBytes % UnitBytes == 0 && ((offsetBytes + bytes.Length) % UnitBytes == 0 || offsetBytes + bytes.Length == SizeBytes));
        lock (Written)
        {
            for (long unit = offsetBytes / UnitBytes; unit * UnitBytes < offsetBytes + bytes.Length; unit++)
            {
                Assert.False(Written[unit], $"unit {unit} is copied twice");
                Written[unit] = true;
            }

            bytes.CopyTo(Content.AsMemory((int)offsetBytes));
        }

        return ValueTask.CompletedTask;
    }

    public override ValueTask WriteZerosAsync(
        long offsetBytes, long lengthBytes, bool mayUnmap = false, CancellationToken cancellationToken = default) =>
        WriteAsync(offsetBytes, new byte[lengthBytes], cancellationToken);

    public override async ValueTask FlushAsync(CancellationToken cancellationToken = default)
    {
        await _released.Task.WaitAsync(cancellationToken);
        if (_fails)
        {
            throw new IOException("The target fails");
        }
    }
}
