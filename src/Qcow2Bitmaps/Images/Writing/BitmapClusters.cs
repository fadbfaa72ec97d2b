using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>The clusters that hold bits of bitmaps, according to their tables. The tables are read on first use, each byte of the file
/// once, however many tables contain it.</summary>
internal sealed class BitmapClusters(ImageStorage storage, ImageGeometry geometry, IReadOnlyList<BitmapInfo> bitmaps)
{
    private const int PieceEntries = 1 << 17;

    private ulong[]? _offsets;

    /// <summary>Finds the first cluster of a range that holds bits.</summary>
    /// <returns>Its number; null when none does.</returns>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<HostCluster?> FindAsync(HostCluster first, long clusters, CancellationToken cancellationToken)
    {
        _offsets ??= await ReadAsync(cancellationToken).ConfigureAwait(false);
        int index = Array.BinarySearch(_offsets, geometry.OffsetOf(first).Raw);
        index = index < 0 ? ~index : index;
        HostCluster? cluster = index < _offsets.Length ? geometry.ClusterAt(_offsets[index]) : null;
        return cluster < first + clusters ? cluster : null;
    }

    private async ValueTask<ulong[]> ReadAsync(CancellationToken cancellationToken)
    {
        ulong length = (ulong)storage.Length;
        var offsets = new List<ulong>();
        ulong read = 0;
        foreach ((ulong start, ulong end) in bitmaps
            .Where(bitmap => bitmap.TableOffset < length && bitmap.TableOffset % ImageGeometry.TableEntryBytes == 0)
            .Select(bitmap => (Start: bitmap.TableOffset, End: Math.Min(length, bitmap.TableOffset + (ulong)bitmap.TableBytes)))
            .OrderBy(static table => table.Start))
        {
            read = Math.Max(read, start);
            while (read < end)
            {
                long entries = Math.Min(ImageGeometry.DivideRoundingUp((long)(end - read), ImageGeometry.TableEntryBytes), PieceEntries);
                foreach (ulong raw in await BigEndianTable.ReadAsync(storage, read, entries, cancellationToken).ConfigureAwait(false))
                {
                    var entry = new BitmapTableEntry(raw);
                    if (entry.HasData && entry.Offset < length && entry.Check(geometry.ClusterBits) == FaultCode.None)
                    {
                        offsets.Add(entry.Offset);
                    }
                }

                read += (ulong)entries * ImageGeometry.TableEntryBytes;
            }
        }

        offsets.Sort();
        return [.. offsets];
    }
}
