using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Guest;

/// <summary>
/// The disk as stored in one image, without its backing image: how each part is stored, and the data. Thread-safe, unless the image is
/// being written.
/// </summary>
internal sealed class GuestDisk : IDisposable
{
    private readonly ClusterUnpacker _unpacker;
    private readonly int _clusterSizeBytes;
    private readonly Lock _gate = new();
    // The cluster that was unpacked last, for callers that read it in pieces.
    private (long HostOffset, byte[] Bytes)? _unpacked;

    private GuestDisk(ImageStorage image, ClusterUnpacker unpacker, int clusterSizeBytes, GuestMap map, bool mayHaveHoles)
    {
        Image = image;
        MayHaveHoles = mayHaveHoles;
        _unpacker = unpacker;
        _clusterSizeBytes = clusterSizeBytes;
        Map = map;
    }

    /// <summary>How the image stores each part.</summary>
    public GuestMap Map { get; }

    /// <summary>The image's file.</summary>
    public ImageStorage Image { get; }

    /// <summary>Whether allocated clusters may never have been written, so that it is worth looking for holes in the file.</summary>
    public bool MayHaveHoles { get; }

    /// <summary>Where uncompressed data are stored: the image, or its external data file. Must be set before data are read.</summary>
    public ImageStorage? Data { get; set; }

    /// <summary>
    /// Whether an incomplete compressed cluster past the end of the file reads as zeros, like other clusters, instead of being an error.
    /// Must be set before data are read.
    /// </summary>
    public bool ReadsMissingAsZeros { get; set; }

    /// <summary>Opens the active state, or a snapshot's.</summary>
    /// <param name="image">The image.</param>
    /// <param name="snapshot">The snapshot; null for the active state.</param>
    /// <param name="cancellationToken">Ends the reading of the L1 table.</param>
    /// <exception cref="Qcow2FormatException">The snapshot's table is invalid.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<GuestDisk> OpenAsync(ImageHandle image, SnapshotInfo? snapshot, CancellationToken cancellationToken)
    {
        if (snapshot is not null
            && Faults.CheckTable(
                FaultCode.SnapshotL1Table, $"snapshot '{snapshot.Name}'", ("L1 table", image.Header.SnapshotsOffset),
                new StoredTable(snapshot.L1TableOffset, snapshot.L1Size), (ulong)image.Limits.MaxL1TableBytes,
                image.Geometry.ClusterBits) is { } fault)
        {
            throw new Qcow2FormatException(fault, image.Name);
        }

        long size = snapshot?.DiskSizeBytes is { } then and <= long.MaxValue ? (long)then : image.Geometry.VirtualSizeBytes;
        GuestTables tables = await GuestTables.OpenAsync(
            image.Storage, image.Header, snapshot?.L1TableOffset ?? image.Header.L1TableOffset, snapshot?.L1Size ?? image.Header.L1Size,
            size, cancellationToken).ConfigureAwait(false);
        var map = new GuestMap(tables, size);
        bool mayHaveHoles = await MetadataPreallocation.IsLikelyAsync(image, cancellationToken).ConfigureAwait(false);
        return new GuestDisk(
            image.Storage, new ClusterUnpacker(image.Storage, image.Header), image.Geometry.ClusterSizeBytes, map, mayHaveHoles);
    }

    /// <summary>Reads the data of an extent.</summary>
    /// <param name="extent">An extent of <see cref="Map"/>, or a part of one whose host offset is that of the part; of a
    /// compressed cluster that of the cluster.</param>
    /// <param name="buffer">Receives the bytes: as many as the extent has.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="Qcow2FormatException">A compressed cluster is broken.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask ReadAsync(DiskExtent extent, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        switch (extent.Kind)
        {
            case ExtentKind.Data:
                await Data!.ReadZeroFilledAsync(extent.HostOffset!.Value, buffer, cancellationToken).ConfigureAwait(false);
                break;
            case ExtentKind.Compressed:
                await UnpackAsync(extent, buffer, cancellationToken).ConfigureAwait(false);
                break;
            default:
                buffer.Span.Clear();
                break;
        }
    }

    /// <summary>Drops the cached unpacked cluster: its place in the file may have been reused.</summary>
    public void Forget()
    {
        lock (_gate)
        {
            _unpacked = null;
        }
    }

    /// <summary>Frees the memory of decoders. Compressed data can no longer be read.</summary>
    public void Dispose() => _unpacker.Dispose();

    private async ValueTask UnpackAsync(DiskExtent extent, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        long host = extent.HostOffset!.Value;
        if (ReadsMissingAsZeros && host + extent.CompressedBytes - CompressedDescriptor.SectorBytes >= Image.Length)
        {
            buffer.Span.Clear();
            return;
        }

        long start = extent.OffsetBytes & -(long)_clusterSizeBytes;
        if (buffer.Length == _clusterSizeBytes)
        {
            await _unpacker.ReadAsync(start, host, extent.CompressedBytes, buffer, cancellationToken).ConfigureAwait(false);
            return;
        }

        int inCluster = (int)(extent.OffsetBytes & (_clusterSizeBytes - 1));
        byte[]? cluster = null;
        lock (_gate)
        {
            if (_unpacked is { } last && last.HostOffset == host)
            {
                cluster = last.Bytes;
            }
        }

        if (cluster is null)
        {
            cluster = new byte[_clusterSizeBytes];
            await _unpacker.ReadAsync(start, host, extent.CompressedBytes, cluster, cancellationToken).ConfigureAwait(false);
            lock (_gate)
            {
                _unpacked = (host, cluster);
            }
        }

        cluster.AsMemory(inCluster, buffer.Length).CopyTo(buffer);
    }
}
