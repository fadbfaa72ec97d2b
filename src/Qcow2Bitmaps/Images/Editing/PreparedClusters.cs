using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Editing;

/// <summary>The clusters that an interrupted edit has prepared. Nothing refers to them yet, so that a repair treats them as
/// leaks.</summary>
internal static class PreparedClusters
{
    /// <summary>Whether all clusters that the switch would bring into use are counted.</summary>
    /// <param name="storage">The image.</param>
    /// <param name="entry">The journal's entry for it.</param>
    /// <param name="bitmaps">The image's current bitmaps; their clusters are not checked.</param>
    /// <param name="limits">The limits of the image.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<bool> AreCountedAsync(
        ImageStorage storage, JournalEntry entry, IEnumerable<BitmapInfo> bitmaps, Qcow2Limits limits, CancellationToken cancellationToken)
    {
        var log = new FaultLog(Strictness.Lenient, storage.Name);
        FirstCluster now = await FirstCluster.ReadAsync(storage, limits, log, cancellationToken).ConfigureAwait(false);
        FirstCluster first = await FirstCluster.ReadAsync(
            MemoryStorage.ReadOnly(entry.Plan.After(now.Bytes)), limits, log, cancellationToken).ConfigureAwait(false);
        if (first.Bitmaps is not { } extension)
        {
            return true;
        }

        ImageGeometry geometry = first.Header.Geometry;
        IReadOnlyList<BitmapInfo> prepared = await new BitmapDirectoryReader(
            first, geometry, limits, log).ReadAsync(storage, cancellationToken).ConfigureAwait(false);
        var known = bitmaps.Select(static bitmap => bitmap.TableOffset).ToHashSet();
        RefcountReader stored = await RefcountReader.OpenAsync(storage, first.Header, cancellationToken).ConfigureAwait(false);
        if (!await IsCountedAsync(
            stored, geometry, extension.DirectoryOffset, (long)extension.DirectorySizeBytes, cancellationToken).ConfigureAwait(false))
        {
            return false;
        }

        foreach (BitmapInfo bitmap in prepared.Where(bitmap => known.Add(bitmap.TableOffset)))
        {
            if (!await IsCountedAsync(stored, geometry, bitmap.TableOffset, bitmap.TableBytes, cancellationToken).ConfigureAwait(false))
            {
                return false;
            }

            foreach (ulong raw
                in await BigEndianTable.ReadAsync(
                    storage, bitmap.TableOffset, bitmap.TableEntries, cancellationToken).ConfigureAwait(false))
            {
                var page = new BitmapTableEntry(raw);
                if (page.HasData && !await IsCountedAsync(stored, geometry, page.Offset, 1, cancellationToken).ConfigureAwait(false))
                {
                    return false;
                }
            }
        }

        return true;
    }

    private static async ValueTask<bool> IsCountedAsync(
        RefcountReader stored, ImageGeometry geometry, ulong offset, long bytes, CancellationToken cancellationToken)
    {
        if (bytes <= 0 || offset > Faults.MaxOffset)
        {
            return false;
        }

        var clusters = ClusterRange.Of(geometry, offset, bytes);
        for (HostCluster cluster = clusters.First; cluster < clusters.End; cluster++)
        {
            long block = geometry.RefcountBlockOf(cluster);
            if (!stored.HasBlock(block) || !stored.IsReadable(block))
            {
                return false;
            }

            Memory<byte> counts = await stored.ReadBlockAsync(block, cancellationToken).ConfigureAwait(false);
            if (RefcountBlock.Read(counts.Span, geometry.RefcountIndexOf(cluster), geometry.RefcountOrder) == 0)
            {
                return false;
            }
        }

        return true;
    }
}
