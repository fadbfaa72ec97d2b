using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Guest.Writing;

/// <summary>Zeroing and discarding by changing tables alone.</summary>
internal sealed partial class GuestMetadata
{
    /// <summary>
    /// Whether tables can mark ranges as zeros: not in version 2, and not with a raw data file, which must contain the zeros itself.
    /// </summary>
    public bool CanZero => Header.Version >= 3 && !HasRawDataFile;

    /// <summary>The smallest range that the tables can mark as zeros, in bytes.</summary>
    public int ZeroUnitBytes => Geometry.SubclusterSizeBytes;

    /// <summary>Whether the data file by itself must read like the disk.</summary>
    public bool HasRawDataFile => Header.HasRawDataFile;

    /// <summary>Makes a range read as zeros. Only where <see cref="CanZero"/>.</summary>
    /// <param name="start">Where it starts: at a subcluster.</param>
    /// <param name="end">Where it ends: at a subcluster or the disk's end, in the same L2 table.</param>
    /// <param name="gaps">Receives the ranges that tables cannot mark: parts of compressed clusters, as offsets on the disk.</param>
    /// <param name="mayUnmap">Whether clusters may be freed.</param>
    /// <param name="cancellationToken">Ends the work before anything is changed.</param>
    /// <exception cref="Qcow2Exception">An entry is invalid, or there is no space for a table.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public ValueTask ZeroAsync(
        long start, long end, List<(long Start, long End)> gaps, bool mayUnmap, CancellationToken cancellationToken) =>
        ChangeAsync(
            start,
            end,
            (old, cluster, from, to) =>
            {
                if (to - from == Geometry.ClusterSizeBytes)
                {
                    return Zeroed(old, mayUnmap || old.Entry.IsCompressed);
                }

                if (old.Entry.IsCompressed)
                {
                    gaps.Add((cluster + from, Math.Min(cluster + to, Geometry.VirtualSizeBytes)));
                    return old;
                }

                uint mask = Mask(from / Geometry.SubclusterSizeBytes, (to - 1) / Geometry.SubclusterSizeBytes);
                return old with { Subclusters = new SubclusterBitmap(old.Subclusters.Allocated & ~mask, old.Subclusters.Zero | mask) };
            },
            cancellationToken);

    /// <summary>Discards whole clusters, so that they read as zeros.</summary>
    /// <param name="start">Where they start.</param>
    /// <param name="end">Where they end, in the same L2 table.</param>
    /// <param name="cancellationToken">Ends the work before anything is changed.</param>
    /// <exception cref="Qcow2Exception">An entry is invalid, or there is no space for a table.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public ValueTask DiscardAsync(long start, long end, CancellationToken cancellationToken) =>
        ChangeAsync(
            start,
            end,
            (old, _, _, _) =>
                hasBacking || old.Entry.Kind(Header) is L2EntryKind.Normal or L2EntryKind.ZeroAllocated or L2EntryKind.Compressed
                ? Header.Version >= 3 ? Zeroed(old, isGivenUp: true) : default
                : old,
            cancellationToken);

    /// <summary>Discards whole clusters, so that they read from the backing file.</summary>
    /// <inheritdoc cref="DiscardAsync" path="/param"/>
    /// <inheritdoc cref="DiscardAsync" path="/exception"/>
    public ValueTask ForgetAsync(long start, long end, CancellationToken cancellationToken) =>
        ChangeAsync(start, end, static (_, _, _, _) => default, cancellationToken);

    /// <summary>Whether discarding has an effect: not in version 2 with a backing file, whose data would become visible.</summary>
    public bool CanDiscard => Header.Version >= 3 || !hasBacking;

    private ClusterEntry Zeroed(ClusterEntry old, bool isGivenUp)
    {
        L2Entry entry = isGivenUp ? default : old.Entry;
        return Geometry.HasExtendedL2
            ? new ClusterEntry(entry, new SubclusterBitmap(0, uint.MaxValue))
            : new ClusterEntry(L2Entry.Create(entry.HostOffset, entry.IsCopied, isZero: true), default);
    }

    private async ValueTask ChangeAsync(
        long start, long end, Func<ClusterEntry, long, int, int, ClusterEntry> change, CancellationToken cancellationToken)
    {
        await OpenAsync(cancellationToken).ConfigureAwait(false);
        long l1Index = Geometry.L1Index(start);
        ulong[]? entries = await Tables.ReadAsync(l1Index, cancellationToken).ConfigureAwait(false);
        var changes = new List<(long Cluster, ClusterEntry Old, ClusterEntry New)>();
        for (long cluster = start & -Geometry.ClusterSizeBytes; cluster < end; cluster += Geometry.ClusterSizeBytes)
        {
            ClusterEntry old = EntryOf(entries, cluster);
            Tables.RequireSane(old.Entry, old.Subclusters, cluster);
            long clusterEnd = end >= Geometry.VirtualSizeBytes ? cluster + Geometry.ClusterSizeBytes : end;
            ClusterEntry now = change(
                old, cluster, (int)Math.Max(0, start - cluster), (int)Math.Min(Geometry.ClusterSizeBytes, clusterEnd - cluster));
            if (now != old)
            {
                changes.Add((cluster, old, now));
            }
        }

        if (changes.Count == 0)
        {
            return;
        }

        await OwnTableAsync(l1Index, cancellationToken).ConfigureAwait(false);
        EditedL2Table table = await Tables.EditAsync(l1Index, null, cancellationToken).ConfigureAwait(false);
        foreach ((long cluster, ClusterEntry old, ClusterEntry now) in changes)
        {
            Set(table, cluster, now);
            Free(old, now);
        }

        await LimitMemoryAsync().ConfigureAwait(false);
    }
}
