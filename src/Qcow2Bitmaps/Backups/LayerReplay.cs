using Qcow2Bitmaps.Copying;

namespace Qcow2Bitmaps.Backups;

/// <summary>Reads what the image of one backup itself contains: to write it to a target, or only to check it.</summary>
internal static class LayerReplay
{
    /// <summary>Writes everything that an image itself contains to a target, and computes its checksums.</summary>
    /// <param name="backup">The backup.</param>
    /// <param name="target">The target.</param>
    /// <param name="workers">The number of parts that are processed concurrently.</param>
    /// <param name="onGroup">Takes the groups, in ascending order, from any thread, one at a time.</param>
    /// <param name="progress">Receives the number of bytes of the disk that are done.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    public static async ValueTask RunAsync(
        StoredBackup backup, Disk target, int workers, Action<BackupGroup> onGroup, IProgress<OperationProgress>? progress,
        CancellationToken cancellationToken)
    {
        ImageChain chain = await backup.OpenAloneAsync(cancellationToken).ConfigureAwait(false);
        await using (chain.ConfigureAwait(false))
        {
            Disk disk = await chain.PrepareAsync(cancellationToken).ConfigureAwait(false);
            var options = new ConversionOptions { SparseBytes = GroupDigests.BlockBytes, Workers = workers, UsesReflinks = false };
            var digests = new GroupDigests(backup.Manifest.GroupBytes, backup.Manifest.SizeBytes, onGroup);
            var ranges = new CopyRanges(BackupRanges.OwnAsync(chain, cancellationToken));
            await using (ranges.ConfigureAwait(false))
            {
                // All zeros count in checksums, whether or not they must be written.
                await new CopyEngine(target, options, progress, ZeroFrom(backup.Manifest))
                    .RunAsync(new CopyScope(disk) { Ranges = ranges, Observer = digests }, cancellationToken).ConfigureAwait(false);
            }

            digests.Complete();
        }
    }

    /// <summary>Computes the checksums of what an image itself contains.</summary>
    public static async ValueTask<IReadOnlyList<BackupGroup>> ReadGroupsAsync(
        StoredBackup backup, int workers, IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        var groups = new List<BackupGroup>();
        await RunAsync(
            backup, new NullDisk(backup.Manifest.SizeBytes), workers, groups.Add, progress, cancellationToken).ConfigureAwait(false);
        return groups;
    }

    /// <summary>A raw image reads as zeros wherever it has no data, without storing them.</summary>
    private static long ZeroFrom(BackupManifest manifest) =>
        string.Equals(manifest.ImageFormat, Qcow2Bitmaps.ImageFormat.Raw, StringComparison.Ordinal) ? 0 : long.MaxValue;
}
