using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Guest;

/// <summary>
/// Guesses, as QEMU does, whether clusters were allocated without being written, so that holes in the file show which clusters read as
/// zeros.
/// </summary>
internal static class MetadataPreallocation
{
    /// <summary>Whether clearly more clusters are in use than the file's allocated space can hold.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<bool> IsLikelyAsync(ImageHandle image, CancellationToken cancellationToken)
    {
        ImageStorage storage = image.Storage;
        if (image.Header.HasExternalDataFile || storage.AllocatedBytes is not { } allocated)
        {
            return false;
        }

        ImageGeometry geometry = image.Geometry;
        long occupied = allocated >> geometry.ClusterBits;
        // QEMU's threshold.
        long threshold = Math.Max(occupied * 10 / 9, occupied + 2);
        if (threshold > geometry.ClustersFor(storage.Length))
        {
            return false;
        }

        RefcountReader stored = await RefcountReader.OpenAsync(storage, image.Header, cancellationToken).ConfigureAwait(false);
        long counted = 0;
        for (long block = 0; block < stored.Table.Length && counted < threshold; block++)
        {
            if (!stored.HasBlock(block) || !stored.IsReadable(block))
            {
                continue;
            }

            ReadOnlyMemory<byte> counts = await stored.ReadBlockAsync(block, cancellationToken).ConfigureAwait(false);
            counted += CountUsed(counts.Span, geometry);
        }

        return counted >= threshold;
    }

    private static long CountUsed(ReadOnlySpan<byte> counts, ImageGeometry geometry)
    {
        long used = 0;
        int step = Math.Max(1, geometry.RefcountBits / 8);
        int at = counts.IndexOfAnyExcept((byte)0);
        while (at >= 0)
        {
            // All counts that lie in this byte, or the one that it is a part of.
            int first = at / step * step;
            int perByte = Math.Max(1, 8 / geometry.RefcountBits);
            for (int i = 0; i < perByte; i++)
            {
                used += RefcountBlock.Read(counts, (first / step * perByte) + i, geometry.RefcountOrder) != 0 ? 1 : 0;
            }

            int next = first + step;
            int more = counts[next..].IndexOfAnyExcept((byte)0);
            at = more < 0 ? -1 : next + more;
        }

        return used;
    }
}
