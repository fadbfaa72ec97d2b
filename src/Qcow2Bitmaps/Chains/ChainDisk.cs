using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Guest;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Chains;

/// <summary>
/// The disk of a chain, with its tables open: finds which image holds each part's data. Thread-safe as long as nothing writes the images.
/// </summary>
/// <remarks>
/// Each image is read only within its own size: beyond the end of the image directly below, the disk reads as zeros, even if images
/// further down are longer.
/// </remarks>
internal sealed class ChainDisk(IReadOnlyList<ChainLayer> layers, IReadOnlyList<GuestDisk?> disks) : Disk
{
    // A listing stops soon after this many extents: one unallocated extent of an upper image may cover a whole disk of small extents below.
    private const int EnoughExtents = 1 << 16;

    public override string Name => layers[0].Path;

    public override long SizeBytes => SizeOf(0);

    public override int ClusterBytes => GeometryOf(0)?.ClusterSizeBytes ?? SectorBytes;

    internal override IEnumerable<ImageStorage> Storages =>
        layers.Select(static layer => layer.Storage).Concat(disks.Select(static disk => disk?.Data).OfType<ImageStorage>());

    /// <summary>How many images the chain has.</summary>
    public int LayerCount => layers.Count;

    /// <summary>The lowest image's depth.</summary>
    public int LastDepth => layers.Count - 1;

    /// <summary>The disk made of the given image and those below it; depths are counted from that image.</summary>
    public ChainDisk From(int depth) => depth == 0 ? this : new ChainDisk([.. layers.Skip(depth)], [.. disks.Skip(depth)]);

    /// <summary>The disk of one image; null for a raw image.</summary>
    public GuestDisk? DiskOf(int depth) => disks[depth];

    /// <summary>Closes what reads the images, also for disks made by <see cref="From"/>. The images stay open.</summary>
    public void Close()
    {
        foreach (GuestDisk? disk in disks)
        {
            disk?.Dispose();
        }
    }

    /// <summary>Whether data can be read from all images.</summary>
    public bool HasAllData => disks.All(static disk => disk is null || disk.Data is not null);

    /// <summary>Whether data can be read from an image.</summary>
    public bool HasData(int depth) => disks[depth]?.Data is not null;

    /// <summary>The size in bytes of one image's disk.</summary>
    public long SizeOf(int depth) => disks[depth]?.Map.SizeBytes ?? layers[depth].VirtualSizeBytes;

    /// <summary>The geometry of an image; null for a raw image.</summary>
    public ImageGeometry? GeometryOf(int depth) => (layers[depth] as Qcow2Layer)?.Image.Geometry;

    /// <summary>Sets the storage that holds an image's data.</summary>
    public void SetData(int depth, ImageStorage data) => disks[depth]!.Data = data;

    public override ValueTask<long> ListAsync(
        long offsetBytes, long endBytes, List<DiskExtent> extents, CancellationToken cancellationToken = default) =>
        ListAsync(0, offsetBytes, endBytes, extents, cancellationToken);

    public override ValueTask ReadAsync(DiskExtent extent, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (!extent.IsZero)
        {
            return layers[extent.Depth] is RawLayer raw
                ? raw.Disk.ReadAsync(extent, buffer, cancellationToken)
                : disks[extent.Depth]!.ReadAsync(extent, buffer, cancellationToken);
        }

        buffer.Span.Clear();
        return ValueTask.CompletedTask;
    }

    public override async ValueTask<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offsetBytes);
        int total = (int)Math.Clamp(SizeBytes - offsetBytes, 0, buffer.Length);
        long end = offsetBytes + total;
        var extents = new List<DiskExtent>();
        for (long at = offsetBytes; at < end;)
        {
            extents.Clear();
            at = await ListAsync(0, at, end, extents, cancellationToken).ConfigureAwait(false);
            foreach (DiskExtent extent in extents)
            {
                await ReadAsync(
                    extent, buffer.Slice((int)(extent.OffsetBytes - offsetBytes), (int)extent.LengthBytes),
                    cancellationToken).ConfigureAwait(false);
            }
        }

        return total;
    }

    internal override StorageIdentity? FileOf(int depth) => layers[depth].Storage.Key;

    internal override BytesOrigin? OriginOf(DiskExtent extent) =>
        extent.Kind != ExtentKind.Data || extent.IsHole || extent.HostOffset is not { } host ? null
        : disks[extent.Depth] is not { } disk ? new BytesOrigin(layers[extent.Depth].Storage, host)
        : disk.Data is { } data ? new BytesOrigin(data, host)
        : null;

    private async ValueTask<long> ListAsync(int depth, long offset, long end, List<DiskExtent> extents, CancellationToken cancellationToken)
    {
        if (layers[depth] is RawLayer raw)
        {
            return await raw.Disk.ListAsync(offset, end, depth, extents, cancellationToken).ConfigureAwait(false);
        }

        GuestDisk disk = disks[depth]!;
        var own = new List<DiskExtent>();
        DataFinder? holes = disk.MayHaveHoles ? new DataFinder(disk.Image) : null;
        long listed = await disk.Map.ListAsync(offset, end, own, cancellationToken).ConfigureAwait(false);
        foreach (DiskExtent extent in own)
        {
            long at = extent.OffsetBytes;
            if (extents.Count >= EnoughExtents)
            {
                return at;
            }

            if (extent.Kind == ExtentKind.Unallocated && depth + 1 < layers.Count)
            {
                long belowEnd = Math.Min(extent.EndBytes, SizeOf(depth + 1));
                while (at < belowEnd)
                {
                    at = await ListAsync(depth + 1, at, belowEnd, extents, cancellationToken).ConfigureAwait(false);
                    if (extents.Count >= EnoughExtents)
                    {
                        return at;
                    }
                }
            }

            if (extent.Kind == ExtentKind.Data && holes is not null)
            {
                await AddDataAsync(depth, holes, extent, extents, cancellationToken).ConfigureAwait(false);
            }
            else if (at < extent.EndBytes)
            {
                extents.Append(
                    extent with
                    {
                        OffsetBytes = at,
                        LengthBytes = extent.EndBytes - at,
                        HostOffset = extent.HostOffset + (at - extent.OffsetBytes),
                        Depth = depth,
                    });
            }
        }

        return listed;
    }

    /// <summary>Adds a data extent, split at the file's holes.</summary>
    private static async ValueTask AddDataAsync(
        int depth, DataFinder holes, DiskExtent extent, List<DiskExtent> extents, CancellationToken cancellationToken)
    {
        long host = extent.HostOffset!.Value;
        for (long at = 0; at < extent.LengthBytes;)
        {
            StorageRange data = await holes.FindAsync(host + at, cancellationToken).ConfigureAwait(false);
            long start = Math.Min(extent.LengthBytes, data.Offset - host);
            if (start > at)
            {
                extents.Append(new DiskExtent(extent.OffsetBytes + at, start - at, ExtentKind.Data, host + at, Depth: depth, IsHole: true));
            }

            long end = Math.Min(extent.LengthBytes, data.EndOffset - host);
            if (end > start)
            {
                extents.Append(new DiskExtent(extent.OffsetBytes + start, end - start, ExtentKind.Data, host + start, Depth: depth));
            }

            at = end;
        }
    }
}
