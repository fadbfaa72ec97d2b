using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Images.Guest;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Chains;

/// <summary>Finds out which image of a chain has what for each part of the disk. Thread-safe, while nobody writes the images.</summary>
/// <remarks>Each image is asked within its own size: what lies behind the end of the one below reads as zeros, whatever lies further down.</remarks>
internal sealed class ChainMap(IReadOnlyList<ChainLayer> layers, IReadOnlyList<GuestDisk?> disks)
{
    // A list ends soon after as many: what one extent of a layer hides may be a whole disk in small pieces.
    private const int EnoughExtents = 1 << 16;

    /// <summary>The disk's size in bytes, as the top image has it.</summary>
    public long SizeBytes => SizeOf(0);

    /// <summary>How many images the chain has.</summary>
    public int LayerCount => layers.Count;

    /// <summary>The lowest image's depth.</summary>
    public int LastDepth => layers.Count - 1;

    /// <summary>The map of the chain that starts at an image; its depths count from there.</summary>
    public ChainMap From(int depth) => depth == 0 ? this : new ChainMap([.. layers.Skip(depth)], [.. disks.Skip(depth)]);

    /// <summary>The disk as an image has it; null of a raw one.</summary>
    public GuestDisk? DiskOf(int depth) => disks[depth];

    /// <summary>Whether data can be read from all images.</summary>
    public bool HasAllData => disks.All(static disk => disk is null || disk.Data is not null);

    /// <summary>Whether data can be read from an image.</summary>
    public bool HasData(int depth) => disks[depth]?.Data is not null;

    /// <summary>The disk's size in bytes, as an image has it.</summary>
    public long SizeOf(int depth) => disks[depth]?.Map.SizeBytes ?? layers[depth].VirtualSizeBytes;

    /// <summary>The geometry of an image; null of a raw one.</summary>
    public ImageGeometry? GeometryOf(int depth) => layers[depth].Image?.Geometry;

    /// <summary>Which file an image is; null when that is not known.</summary>
    public StorageIdentity? IdentityOf(int depth) => layers[depth].Storage.Identity;

    /// <summary>Says where an image's data stand.</summary>
    public void SetData(int depth, ImageStorage data) => disks[depth]!.Data = data;

    /// <summary>Lists what the guest sees, from an offset on up to an end or before, where that costs less.</summary>
    /// <param name="offset">Where to start, in bytes.</param>
    /// <param name="end">Where to end at the latest, at most <see cref="SizeBytes"/>.</param>
    /// <param name="extents">Takes the extents in ascending order.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>Where the list ends.</returns>
    public ValueTask<long> ListAsync(long offset, long end, List<ChainExtent> extents, CancellationToken cancellationToken) =>
        ListAsync(0, offset, end, extents, cancellationToken);

    /// <summary>Lists what of a range the tables do not say to read as zeros.</summary>
    /// <param name="start">Where the range starts, in bytes.</param>
    /// <param name="end">Where it ends.</param>
    /// <param name="unitBytes">A power of two: what is listed is whole units, as far as the range goes.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The parts, in ascending order without overlaps.</returns>
    public async IAsyncEnumerable<StorageRange> ListDataAsync(long start, long end, int unitBytes, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var extents = new List<ChainExtent>();
        long mapEnd = Math.Min(end, SizeBytes);
        for (long listed = start, done = start; listed < mapEnd;)
        {
            extents.Clear();
            listed = await ListAsync(listed, mapEnd, extents, cancellationToken).ConfigureAwait(false);
            // Holes inside an image's clusters come and go with its writes, by whole pages: they do not count, so that what is copied depends on the images alone.
            foreach (ChainExtent extent in extents.Where(extent => !extent.IsZero || (extent.IsHole && disks[extent.Depth] is not null)))
            {
                long from = Math.Max(done, extent.OffsetBytes & -unitBytes);
                done = extent.EndBytes + Math.Min(end - extent.EndBytes, -extent.EndBytes & (unitBytes - 1));
                if (from < done)
                {
                    yield return new StorageRange(from, done);
                }
            }
        }
    }

    /// <summary>Reads the bytes of an extent, or of a part of one.</summary>
    public async ValueTask ReadAsync(ChainExtent extent, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        if (extent.IsZero)
        {
            buffer.Span.Clear();
        }
        else if (disks[extent.Depth] is { } disk)
        {
            await disk.ReadAsync(new GuestExtent(extent.OffsetBytes, buffer.Length, extent.Kind, extent.HostOffset, extent.CompressedBytes), buffer, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            await layers[extent.Depth].Storage.ReadZeroFilledAsync(extent.OffsetBytes, buffer, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Where the bytes of an extent stand as they are; null where they do not.</summary>
    public BytesOrigin? OriginOf(ChainExtent extent) =>
        extent.Kind != GuestExtentKind.Data || extent.IsHole || extent.HostOffset is not { } host ? null
        : disks[extent.Depth] is not { } disk ? new BytesOrigin(layers[extent.Depth].Storage, host)
        : disk.Data is { } data ? new BytesOrigin(data, host)
        : null;

    /// <summary>Whether an extent of this chain and one of another are the same bytes of the same file. What broken data would read as does not matter: it is the same.</summary>
    public bool IsSamePlace(ChainExtent own, ChainMap other, ChainExtent its) =>
        own.Kind == its.Kind
        && own.Kind is GuestExtentKind.Data or GuestExtentKind.Compressed
        && own.HostOffset == its.HostOffset
        && own.CompressedBytes == its.CompressedBytes
        && IdentityOf(own.Depth) is { } identity
        && identity == other.IdentityOf(its.Depth);

    /// <summary>Reads what the guest sees through an image and those below it; zeros behind that image's end.</summary>
    public async ValueTask ReadAsync(int depth, long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        long end = Math.Clamp(SizeOf(depth), offset, offset + buffer.Length);
        buffer.Span[(int)(end - offset)..].Clear();
        var extents = new List<ChainExtent>();
        for (long at = offset; at < end;)
        {
            extents.Clear();
            at = await ListAsync(depth, at, end, extents, cancellationToken).ConfigureAwait(false);
            foreach (ChainExtent extent in extents)
            {
                await ReadAsync(extent, buffer.Slice((int)(extent.OffsetBytes - offset), (int)extent.LengthBytes), cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private async ValueTask<long> ListAsync(int depth, long offset, long end, List<ChainExtent> extents, CancellationToken cancellationToken)
    {
        if (disks[depth] is not { } disk)
        {
            return await ListRawAsync(depth, offset, end, extents, cancellationToken).ConfigureAwait(false);
        }

        var own = new List<GuestExtent>();
        DataFinder? holes = disk.MayHaveHoles ? new DataFinder(disk.Image) : null;
        long listed = await disk.Map.ListAsync(offset, end, own, cancellationToken).ConfigureAwait(false);
        foreach (GuestExtent extent in own)
        {
            long at = extent.OffsetBytes;
            if (extents.Count >= EnoughExtents)
            {
                return at;
            }

            if (extent.Kind == GuestExtentKind.Unallocated && depth + 1 < layers.Count)
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

            if (extent.Kind == GuestExtentKind.Data && holes is not null)
            {
                await AddDataAsync(depth, holes, extent, extents, cancellationToken).ConfigureAwait(false);
            }
            else if (at < extent.EndBytes)
            {
                Add(extents, new ChainExtent(at, extent.EndBytes - at, extent.Kind, depth, extent.HostOffset + (at - extent.OffsetBytes), extent.CompressedBytes));
            }
        }

        return listed;
    }

    /// <summary>Adds data, cut where the file has holes.</summary>
    private static async ValueTask AddDataAsync(int depth, DataFinder holes, GuestExtent extent, List<ChainExtent> extents, CancellationToken cancellationToken)
    {
        long host = extent.HostOffset!.Value;
        for (long at = 0; at < extent.LengthBytes;)
        {
            StorageRange data = await holes.FindAsync(host + at, cancellationToken).ConfigureAwait(false);
            long start = Math.Min(extent.LengthBytes, data.Offset - host);
            if (start > at)
            {
                Add(extents, new ChainExtent(extent.OffsetBytes + at, start - at, GuestExtentKind.Data, depth, host + at, IsHole: true));
            }

            long end = Math.Min(extent.LengthBytes, data.EndOffset - host);
            if (end > start)
            {
                Add(extents, new ChainExtent(extent.OffsetBytes + start, end - start, GuestExtentKind.Data, depth, host + start));
            }

            at = end;
        }
    }

    private async ValueTask<long> ListRawAsync(int depth, long offset, long end, List<ChainExtent> extents, CancellationToken cancellationToken)
    {
        StorageRange? data = await layers[depth].Storage.FindDataAsync(offset, cancellationToken).ConfigureAwait(false);
        long dataStart = Math.Min(end, data?.Offset ?? end);
        if (dataStart > offset)
        {
            Add(extents, new ChainExtent(offset, dataStart - offset, GuestExtentKind.Zero, depth, offset));
        }

        long dataEnd = Math.Min(end, data?.EndOffset ?? end);
        if (dataEnd > dataStart)
        {
            Add(extents, new ChainExtent(dataStart, dataEnd - dataStart, GuestExtentKind.Data, depth, dataStart));
        }

        return Math.Max(dataStart, dataEnd);
    }

    private static void Add(List<ChainExtent> extents, ChainExtent extent)
    {
        if (extents.Count > 0)
        {
            ref ChainExtent last = ref CollectionsMarshal.AsSpan(extents)[^1];
            if (last.Depth == extent.Depth
                && last.Kind == extent.Kind
                && last.IsHole == extent.IsHole
                && last.Kind != GuestExtentKind.Compressed
                && last.EndBytes == extent.OffsetBytes
                && (last.HostOffset is { } host ? host + last.LengthBytes == extent.HostOffset : extent.HostOffset is null))
            {
                last = last with { LengthBytes = last.LengthBytes + extent.LengthBytes };
                return;
            }
        }

        extents.Add(extent);
    }
}
