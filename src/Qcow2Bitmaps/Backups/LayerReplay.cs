using Qcow2Bitmaps.Chains;
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
        StoredBackup backup, ICopyTarget target, int workers, Action<BackupGroup> onGroup, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        ImageChain chain = await backup.OpenAloneAsync(cancellationToken).ConfigureAwait(false);
        await using (chain.ConfigureAwait(false))
        {
            ChainMap map = await chain.OpenDataAsync(cancellationToken).ConfigureAwait(false);
            var options = new ConversionOptions { SparseBytes = GroupDigests.BlockBytes, Workers = workers, UsesReflinks = false };
            var digests = new GroupDigests(backup.Manifest.GroupBytes, backup.Manifest.SizeBytes, onGroup);
            var ranges = new CopyRanges(BackupRanges.OwnAsync(chain, cancellationToken));
            await using (ranges.ConfigureAwait(false))
            {
                await new CopyEngine(target, options, progress)
                    .RunAsync([map], int.MaxValue, int.MaxValue, cancellationToken, ranges: ranges, observer: digests).ConfigureAwait(false);
            }

            digests.Complete();
        }
    }

    /// <summary>Makes the checksums of what an image holds.</summary>
    public static async ValueTask<IReadOnlyList<BackupGroup>> ReadGroupsAsync(StoredBackup backup, int workers, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        var groups = new List<BackupGroup>();
        var target = new NoTarget { ZeroFromBytes = ZeroFrom(backup.Manifest) };
        await using (target.ConfigureAwait(false))
        {
            await RunAsync(backup, target, workers, groups.Add, progress, cancellationToken).ConfigureAwait(false);
        }

        return groups;
    }

    /// <summary>A raw image has zeros wherever it has no data, without holding them.</summary>
    public static long ZeroFrom(BackupManifest manifest) => string.Equals(manifest.ImageFormat, Images.ImageFormat.Raw, StringComparison.Ordinal) ? 0 : long.MaxValue;
}
