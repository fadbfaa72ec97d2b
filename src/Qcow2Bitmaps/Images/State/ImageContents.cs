using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.State;

/// <summary>What opening an image reads: the first cluster, the snapshot table, the bitmap directory. Immutable.</summary>
internal sealed record ImageContents(
    FirstCluster First, SnapshotTable Snapshots, BitmapDirectory Bitmaps, IReadOnlyList<FormatFault> Findings)
{
    public static async ValueTask<ImageContents> ReadAsync(
        ImageStorage storage, Strictness strictness, Qcow2Limits limits, CancellationToken cancellationToken)
    {
        var log = new FaultLog(strictness, storage.Name);
        FirstCluster first = await FirstCluster.ReadAsync(storage, limits, log, cancellationToken).ConfigureAwait(false);
        SnapshotTable snapshots = await SnapshotTableReader
            .ReadAsync(storage, first.Header, limits, log, zeroFilled: false, cancellationToken).ConfigureAwait(false);
        var directory = new BitmapDirectoryReader(first, first.Header.Geometry, limits, log);
        IReadOnlyList<BitmapInfo> bitmaps = await directory.ReadAsync(storage, cancellationToken).ConfigureAwait(false);
        return new ImageContents(
            first, snapshots, new BitmapDirectory(bitmaps, directory.IsComplete, directory.OwnedBytes, directory.ReachedBytes),
            log.Findings);
    }
}
