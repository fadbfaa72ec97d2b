namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>A target that reads as zeros until it is written, and counts how much of its map is asked for.</summary>
internal sealed class MappedTarget(long sizeBytes) : Disk
{
    private long _listedBytes;
    private long _zeroedBytes;

    /// <summary>The sum of all ranges that were asked for.</summary>
    public long ListedBytes => Interlocked.Read(ref _listedBytes);

    public long ZeroedBytes => Interlocked.Read(ref _zeroedBytes);

    public override string Name => "mapped";

    public override long SizeBytes => sizeBytes;

    public override int ClusterBytes => 65536;

    public override bool CanWrite => true;

    public override ValueTask<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException();

    public override ValueTask<long> ListAsync(
        long offsetBytes, long endBytes, List<DiskExtent> extents, CancellationToken cancellationToken = default)
    {
        Interlocked.Add(ref _listedBytes, endBytes - offsetBytes);
        extents.Add(new DiskExtent(offsetBytes, endBytes - offsetBytes, ExtentKind.Zero, null));
        return ValueTask.FromResult(endBytes);
    }

    public override ValueTask WriteAsync(long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default) =>
        ValueTask.CompletedTask;

    public override ValueTask WriteZerosAsync(
        long offsetBytes, long lengthBytes, bool mayUnmap = false, CancellationToken cancellationToken = default)
    {
        Interlocked.Add(ref _zeroedBytes, lengthBytes);
        return ValueTask.CompletedTask;
    }

    public override ValueTask FlushAsync(CancellationToken cancellationToken = default) => ValueTask.CompletedTask;
}
