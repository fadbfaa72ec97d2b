using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Creation;

namespace Qcow2Bitmaps;

/// <summary>How many bytes a target takes, before anything is written: QEMU's <c>measure</c>. Immutable.</summary>
public sealed record ImageMeasurement
{
    private ImageMeasurement(long requiredBytes, long fullyAllocatedBytes, long? bitmapBytes)
    {
        RequiredBytes = requiredBytes;
        FullyAllocatedBytes = fullyAllocatedBytes;
        BitmapBytes = bitmapBytes;
    }

    /// <summary>What the disk's data take, uncompressed, with all metadata of a full image.</summary>
    public long RequiredBytes { get; }

    /// <summary>What the whole disk takes.</summary>
    public long FullyAllocatedBytes { get; }

    /// <summary>What the source's bitmaps take at most; null where source or target holds none.</summary>
    public long? BitmapBytes { get; }

    internal static ImageMeasurement OfRaw(long sizeBytes) => new(sizeBytes, sizeBytes, null);

    internal static ImageMeasurement OfEmpty(Qcow2CreateOptions target)
    {
        ArgumentNullException.ThrowIfNull(target);
        return Of(target, 0, null);
    }

    internal static async ValueTask<ImageMeasurement> OfChainAsync(
        ImageChain source, Qcow2CreateOptions target, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(target);
        long size = source.SizeBytes;
        target = target with { SizeBytes = size };
        _ = CreationPlan.Make(target);
        long cluster = target.ClusterSizeBytes;
        long data = 0;
        // The end of the last counted cluster.
        long counted = 0;
        await foreach (DiskExtent extent in source.MapAsync(cancellationToken: cancellationToken).ConfigureAwait(false))
        {
            if (!extent.IsZero && extent.EndBytes > counted)
            {
                long start = Math.Max(counted, extent.OffsetBytes / cluster * cluster);
                counted = ImageGeometry.DivideRoundingUp(extent.EndBytes, cluster) * cluster;
                data += counted - start;
            }
        }

        bool holdsBitmaps = target.Version >= 3 && source.Layers[0] is Qcow2Layer { Image.Header.Version: >= 3 };
        return Of(
            target, target.BackingFile is null ? data : WholeClusters(size, cluster),
            holdsBitmaps ? BitmapsOf(source.Layers[0].RequireImage(), source.Layers[0].RequireImage().VirtualSizeBytes, cluster) : null);
    }

    private static ImageMeasurement Of(Qcow2CreateOptions target, long dataBytes, long? bitmapBytes)
    {
        _ = CreationPlan.Make(target);
        long disk = WholeClusters(target.SizeBytes, target.ClusterSizeBytes);
        long full = disk + MetadataOf(target, disk);
        return new ImageMeasurement(target.Preallocation.TakesSpace() ? full : full - disk + dataBytes, full, bitmapBytes);
    }

    private static long MetadataOf(Qcow2CreateOptions target, long diskBytes)
    {
        long cluster = target.ClusterSizeBytes;
        long perTable = cluster / (target.ExtendedL2 ? 16 : 8);
        long tables = ImageGeometry.DivideRoundingUp(diskBytes / cluster, perTable);
        long l1 = ImageGeometry.DivideRoundingUp(tables * sizeof(ulong), cluster);
        long clusters = 1 + tables + l1 + (diskBytes / cluster);
        return (1 + tables + l1 + CountsFor(clusters, cluster, target.RefcountBits)) * cluster;
    }

    /// <summary>The number of refcount clusters needed to count all clusters, including themselves.</summary>
    private static long CountsFor(long clusters, long clusterBytes, long refcountBits)
    {
        long perBlock = clusterBytes * 8 / refcountBits;
        long counts = 0;
        while (true)
        {
            long blocks = ImageGeometry.DivideRoundingUp(clusters + counts, perBlock);
            long needed = blocks + ImageGeometry.DivideRoundingUp(blocks * sizeof(ulong), clusterBytes);
            if (needed == counts)
            {
                return counts;
            }

            counts = needed;
        }
    }

    /// <summary>The maximum size of an image's bitmaps on a disk of the given size.</summary>
    internal static long BitmapsOf(Qcow2Image image, long sizeBytes, long clusterBytes)
    {
        long bytes = 0;
        long directory = 0;
        foreach (BitmapInfo bitmap in image.Bitmaps)
        {
            long bits = ImageGeometry.DivideRoundingUp(sizeBytes, bitmap.GranularityBytes);
            long pages = ImageGeometry.DivideRoundingUp(ImageGeometry.DivideRoundingUp(bits, 8), clusterBytes);
            bytes += (pages * clusterBytes) + WholeClusters(pages * ImageGeometry.TableEntryBytes, clusterBytes);
            directory += new BitmapDirectoryEntry
            {
                TableOffset = 0,
                TableEntries = 0,
                GranularityBits = 0,
                Type = BitmapDirectoryEntry.DirtyTrackingType,
                Flags = BitmapFlags.None,
                Name = ImageText.Encode(bitmap.Name),
            }.SizeBytes;
        }

        return bytes + WholeClusters(directory, clusterBytes);
    }

    private static long WholeClusters(long bytes, long clusterBytes) => ImageGeometry.DivideRoundingUp(bytes, clusterBytes) * clusterBytes;
}
