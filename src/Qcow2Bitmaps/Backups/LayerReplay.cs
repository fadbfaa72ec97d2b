using Qcow2Bitmaps.Copying;

namespace Qcow2Bitmaps.Backups;

/// <summary>Goes through what the image of one backup itself holds: into a target, or only to look.</summary>
internal static class LayerReplay
{
    /// <summary>Writes all that an image holds to a target, and makes its checksums.</summary>
    /// <param name="backup">The backup.</param>
    /// <param name="target">The target.</param>
    /// <param name="workers">How many parts are in work at a time.</param>
    /// <param name="onGroup">Takes the groups, in ascending order, from any thread, one at a time.</param>
    /// <param name="progress">Is told how many bytes of the disk are done.</param>
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
                // What a checksum is made of, whether or not zeros have to be written.
                await new CopyEngine(target, options, progress, ZeroFrom(backup.Manifest))
                    .RunAsync(new CopyScope(disk) { Ranges = ranges, Observer = digests }, cancellationToken).ConfigureAwait(false);
            }

            digests.Complete();
        }
    }

    /// <summary>Makes the checksums of what an image holds.</summary>
    public static async ValueTask<IReadOnlyList<BackupGroup>> ReadGroupsAsync(
        StoredBackup backup, int workers, IProgress<OperationProgress>? progress, CancellationToken cancellationToken)
    {
        var groups = new List<BackupGroup>();
        await RunAsync(
            backup, new NullDisk(backup.Manifest.SizeBytes), workers, groups.Add, progress, cancellationToken).ConfigureAwait(false);
        return groups;
    }

    /// <summary>A raw image has zeros wherever it has no data, without holding them.</summary>
    private static long ZeroFrom(BackupManifest manifest) =>
        string.Equals(manifest.ImageFormat, Qcow2Bitmaps.ImageFormat.Raw, StringComparison.Ordinal) ? 0 : long.MaxValue;
}
