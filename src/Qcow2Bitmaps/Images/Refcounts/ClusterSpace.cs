using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>Where new clusters may be allocated, and how the refcount table grows: shared by in-place and shadow updates of
/// refcounts.</summary>
internal static class ClusterSpace
{
    private const int MaxHostOffsetBits = 56;

    // In a large image, only the last counts are searched for free clusters before the file grows.
    private const int SearchedBytes = 4 << 20;

    /// <summary>The first impossible cluster: the storage cannot grow that far, or no entry can refer to it.</summary>
    public static HostCluster EndOf(ImageStorage storage, ImageGeometry geometry) =>
        geometry.ClusterAt(new HostOffset(storage.CapacityBytes ?? 1L << MaxHostOffsetBits));

    /// <summary>The cluster where the search for free clusters starts; those below it are searched last.</summary>
    public static HostCluster SearchStartOf(ulong[] refcountTable, ImageGeometry geometry)
    {
        long lastBlock = Array.FindLastIndex(refcountTable, static raw => raw != 0);
        long searched = Math.Max(2, SearchedBytes >> geometry.ClusterBits);
        return geometry.ClusterOfRefcount(Math.Max(0, lastBlock + 1 - searched), 0);
    }

    /// <summary>A larger refcount table, by more than asked for, in whole clusters.</summary>
    /// <exception cref="IOException">The table would be larger than is allowed.</exception>
    public static ulong[] Grow(ulong[] table, long entries, ImageGeometry geometry, Qcow2Limits limits, string imageName)
    {
        long perCluster = geometry.ClusterSizeBytes / ImageGeometry.TableEntryBytes;
        long most = limits.MaxRefcountTableBytes / ImageGeometry.TableEntryBytes;
        if (entries > most)
        {
            throw IOException.Of(
                $"'{imageName}': the refcount table needs {entries} entries, at most {most} are allowed: the image has too many clusters");
        }

        long wanted = Math.Min(Math.Max(entries, table.LongLength * 3 / 2), most);
        Array.Resize(ref table, (int)(ImageGeometry.DivideRoundingUp(wanted, perCluster) * perCluster));
        return table;
    }

    /// <summary>Extends a file that has grown to a whole cluster: then a shorter file is known to be truncated.</summary>
    public static ValueTask FillLastClusterAsync(
        ImageStorage storage, ImageGeometry geometry, long originalLength, CancellationToken cancellationToken)
    {
        long length = storage.Length;
        long whole = geometry.ClustersFor(length) << geometry.ClusterBits;
        return storage.CapacityBytes is null && length > originalLength && length < whole
            ? storage.SetLengthAsync(whole, cancellationToken)
            : ValueTask.CompletedTask;
    }

    /// <summary>The error for a cluster that is free by its count but in use.</summary>
    public static Qcow2FormatException InUse(string what, HostOffset offset, string imageName) => new(
        Faults.Of(
            FaultCode.RefcountTooLow, what, "reference count", offset.Raw, 0,
            "at least 1, as the cluster is in use").Repairable,
        imageName);

    /// <summary>The error for a storage that is full and cannot grow.</summary>
    public static NoSpaceException OutOfClusters(long clusters, ImageGeometry geometry, ImageStorage storage)
    {
        long bytes = geometry.BytesOfClusters(clusters);
        return storage.CapacityBytes is { } capacity
            ? NoSpaceException.OfFullVolume(storage.Name, bytes, capacity)
            : new NoSpaceException($"'{storage.Name}': no space: {bytes} bytes in a row are needed and not there", bytes, null);
    }
}
