namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>A target that fails from some place on.</summary>
internal sealed class FailingTarget(long sizeBytes, long failsFrom) : Disk
{
    private long _writtenBytes;

    /// <summary>How many bytes were written that are not zeros.</summary>
    public long WrittenBytes => _writtenBytes;

    public bool IsDisposed { get; private set; }

    public int Flushes { get; private set; }

    public bool FailsFlushes { get; init; }

    /// <summary>As the kernel tells of an error once.</summary>
    public bool FailsFirstFlush { get; init; }

    public int UnitBytes { get; init; } = 512;

    public override string Name => "failing";

    public override long SizeBytes => sizeBytes;

    public override int ClusterBytes => UnitBytes;

    public override bool CanWrite => true;

    public override ValueTask<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException();

    public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default)
    {
        if (offsetBytes >= failsFrom)
        {
            throw new IOException("The target fails");
        }

        Interlocked.Add(ref _writtenBytes, bytes.Length);
        return ValueTask.CompletedTask;
    }

    public override ValueTask WriteZerosAsync(
        long offsetBytes, long lengthBytes, bool mayUnmap = false, CancellationToken cancellationToken = default) =>
        ValueTask.CompletedTask;

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default)
    {
        Flushes++;
        return FailsFlushes || (FailsFirstFlush && Flushes == 1)
            ? throw new IOException("The target cannot be flushed")
            : ValueTask.CompletedTask;
    }

    public override ValueTask DisposeAsync()
    {
        IsDisposed = true;
        return base.DisposeAsync();
    }
}
