using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Copying;

/// <summary>What all targets have in common.</summary>
internal static class CopyTargets
{
    /// <summary>Makes a part of the disk read as zeros. What is known from tables to do so is left alone, so that nothing is held there.</summary>
    /// <param name="target">The target.</param>
    /// <param name="start">Where the part starts on the disk, in bytes.</param>
    /// <param name="end">Where it ends.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    public static async ValueTask ZeroAsync(this ICopyTarget target, long start, long end, CancellationToken cancellationToken)
    {
        if (target.Map is not { } map)
        {
            await target.WriteZerosAsync(start, end - start, cancellationToken).ConfigureAwait(false);
            return;
        }

        // Whole units cost a table's entry, parts of one have to be written.
        await foreach (StorageRange data in map.ListDataAsync(start, end, target.UnitBytes, cancellationToken).ConfigureAwait(false))
        {
            await target.WriteZerosAsync(data.Offset, data.EndOffset - data.Offset, cancellationToken).ConfigureAwait(false);
        }
    }
}
