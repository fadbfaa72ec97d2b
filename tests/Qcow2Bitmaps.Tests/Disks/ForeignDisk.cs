namespace Qcow2Bitmaps.Tests.Disks;

/// <summary>A disk that somebody else has written, with mistakes.</summary>
internal sealed class ForeignDisk(byte[] content) : Disk
{
    /// <summary>The most bytes that one call reads.</summary>
    public int MostBytes { get; init; } = int.MaxValue;

    /// <summary>From where on nothing is read, in bytes.</summary>
    public long ReadableBytes { get; init; } = content.Length;

    /// <summary>What the map says; null for all that was asked for.</summary>
    public DiskExtent[]? Map { get; init; }

    /// <summary>Where the map says that it ends; null for where it was to end.</summary>
    public long? MapEnd { get; init; }

    public long Size { get; init; } = content.Length;

    public object? File { get; init; }

    public override string Name => "foreign";

    public override long SizeBytes => Size;

    public override object Identity => File ?? this;

    public override ValueTask<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int length = (int)Math.Clamp(Math.Min(ReadableBytes, MostBytes + offsetBytes) - offsetBytes, 0, buffer.Length);
        content.AsMemory((int)Math.Min(offsetBytes, content.Length), length).CopyTo(buffer);
        return ValueTask.FromResult(length);
    }

    public override async ValueTask<long> ListAsync(
        long offsetBytes, long endBytes, List<DiskExtent> extents, CancellationToken cancellationToken = default)
    {
        if (Map is null)
        {
            return await base.ListAsync(offsetBytes, endBytes, extents, cancellationToken);
        }

        extents.AddRange(Map);
        return MapEnd ?? endBytes;
    }
}
