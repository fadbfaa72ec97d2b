using System.Numerics;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Guest.Writing;

/// <summary>
/// The tables and counts that a writer of guest data changes: first in memory, then in the file, so that a stop at any byte does no harm.
/// </summary>
/// <remarks>
/// Order of durability: raised counts and data, then L2 tables that refer to them, then the L1 table, then lowered counts and reuse of
/// clusters. So an interruption leaves at worst leaked clusters, and each cluster in its old or its new state. Not thread-safe.
/// </remarks>
internal sealed partial class GuestMetadata(ImageHandle image, GuestDisk disk, ImageStorage? dataFile, bool hasBacking)
{
    private const int MaxChangedBytes = 32 << 20;

    private RefcountEditor? _refcounts;

    /// <summary>The error that kept tables from being written; memory and file may then differ, and nothing more may be written.</summary>
    public Exception? Failure { get; private set; }

    /// <summary>Whether clusters are stored in a data file.</summary>
    public bool HasDataFile => dataFile is not null;

    private GuestTables Tables => disk.Map.Tables;

    private Qcow2Header Header => Tables.Header;

    private ImageGeometry Geometry => Tables.Geometry;

    /// <summary>Whether there are unwritten changes in memory.</summary>
    private bool IsChanged => Tables.EditedCount > 0 || _refcounts is { HasChanges: true };

    /// <summary>Reloads what others may have changed in the file. There must be no unwritten changes in memory.</summary>
    /// <exception cref="Qcow2FormatException">The L1 table does not cover the disk.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask ReloadAsync(CancellationToken cancellationToken)
    {
        _refcounts = null;
        _packedEnd = 0;
        disk.Forget();
        await Tables.ReloadAsync(image.Header, cancellationToken).ConfigureAwait(false);
        disk.Map.SizeBytes = image.Geometry.VirtualSizeBytes;
        Tables.RequireWhole();
    }

    /// <summary>Plans a write of bytes that one L2 table maps: decides where each cluster goes, and allocates.</summary>
    /// <param name="start">Where the bytes start on the disk.</param>
    /// <param name="end">Where they end.</param>
    /// <param name="cancellationToken">Ends the planning.</param>
    /// <exception cref="NoSpaceException">There is no space; nothing was changed.</exception>
    /// <exception cref="Qcow2FormatException">An entry is invalid, or refers to a structure where the bytes would go.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<List<ClusterWrite>> PlanWriteAsync(long start, long end, CancellationToken cancellationToken)
    {
        await OpenAsync(cancellationToken).ConfigureAwait(false);
        var plan = new List<ClusterWrite>();
        long l1Index = Geometry.L1Index(start);
        ulong[]? table = await Tables.ReadAsync(l1Index, cancellationToken).ConfigureAwait(false);
        try
        {
            bool isChanged = false;
            for (long cluster = start & -Geometry.ClusterSizeBytes; cluster < end; cluster += Geometry.ClusterSizeBytes)
            {
                int from = (int)Math.Max(0, start - cluster);
                int to = (int)Math.Min(Geometry.ClusterSizeBytes, end - cluster);
                plan.Add(await PlanClusterAsync(EntryOf(table, cluster), cluster, from, to, cancellationToken).ConfigureAwait(false));
                isChanged |= plan[^1].New != plan[^1].Old;
            }

            if (isChanged)
            {
                await OwnTableAsync(l1Index, cancellationToken).ConfigureAwait(false);
            }

            return plan;
        }
        catch
        {
            await AbandonAsync(plan).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Makes the L2 table refer to the written data.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask ApplyAsync(List<ClusterWrite> plan)
    {
        EditedL2Table? table = null;
        foreach (ClusterWrite write in plan)
        {
            if (write.New == write.Old)
            {
                continue;
            }

            table ??= await Tables.EditAsync(Geometry.L1Index(write.GuestOffset), null, CancellationToken.None).ConfigureAwait(false);
            Set(table, write.GuestOffset, write.New);
            Free(write.Old, write.New);
        }

        await LimitMemoryAsync().ConfigureAwait(false);
    }

    /// <summary>Frees what was allocated for bytes that were not written after all.</summary>
    public async ValueTask AbandonAsync(List<ClusterWrite> plan)
    {
        foreach (ClusterWrite write in plan.Where(static write => write.IsAllocated))
        {
            await _refcounts!.GiveBackAsync(
                Geometry.ClusterAt(new HostOffset(write.HostOffset)), CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <summary>Writes all that is in memory, in order, and makes it and all data durable.</summary>
    /// <param name="isAlone">Whether no caller writes data meanwhile.</param>
    /// <exception cref="IOException">
    /// The storage failed; the image is consistent, with leaked clusters at worst, and changes since the last flush have their old or new
    /// state.
    /// </exception>
    public async ValueTask CommitAsync(bool isAlone)
    {
        try
        {
            if (dataFile is not null)
            {
                await dataFile.FlushAsync(CancellationToken.None).ConfigureAwait(false);
            }

            if (IsChanged)
            {
                await WriteAsync(_refcounts!, isAlone).ConfigureAwait(false);
            }
            else
            {
                await image.Storage.FlushAsync(CancellationToken.None).ConfigureAwait(false);
            }
        }
        catch (Exception e)
        {
            // Also set after a failed flush: the next flush may succeed although data are lost.
            Failure = e;
            throw;
        }
    }

    private async ValueTask WriteAsync(RefcountEditor refcounts, bool isAlone)
    {
        await refcounts.PublishAsync(CancellationToken.None, isAlone).ConfigureAwait(false);
        bool hasMoved = refcounts.HasMovedTable;
        if (Tables.EditedCount > 0)
        {
            await Tables.WriteAsync(CancellationToken.None).ConfigureAwait(false);
        }

        bool isReleased = await Leftovers.TidyAsync(
            $"'{image.Name}' is written, but freed clusters stay counted (a repair of leaks gives them back)",
            () => refcounts.ReleaseAsync(refcounts.Live, CancellationToken.None)).ConfigureAwait(false);
        if (hasMoved)
        {
            await image.ReloadAsync().ConfigureAwait(false);
        }

        if (isReleased)
        {
            refcounts.Restart(image.Header);
        }
        else
        {
            // After a failed release, only the file shows which counts were lowered. Other callers may be between planning and applying a
            // write, and still need counts.
            _refcounts = null;
            await OpenAsync(CancellationToken.None).ConfigureAwait(false);
        }

        await ForgetFreedPackedEndAsync().ConfigureAwait(false);
    }

    private async ValueTask OpenAsync(CancellationToken cancellationToken)
    {
        if (_refcounts is null)
        {
            WritableCounts counts = await WritableCounts.OpenAsync(
                image.Storage, image.Contents, image.Limits, cancellationToken).ConfigureAwait(false);
            _refcounts = new RefcountEditor(image.Storage, image.Limits, counts);
        }
    }

    private ValueTask LimitMemoryAsync() => Geometry.BytesOfClusters(Tables.EditedCount) + _refcounts!.EditedBytes > MaxChangedBytes
        ? CommitAsync(isAlone: false)
        : ValueTask.CompletedTask;

    private async ValueTask<ClusterWrite> PlanClusterAsync(
        ClusterEntry old, long cluster, int from, int to, CancellationToken cancellationToken)
    {
        Tables.RequireSane(old.Entry, old.Subclusters, cluster);
        L2EntryKind kind = old.Entry.Kind(Header);
        bool hasHost = kind is L2EntryKind.Normal or L2EntryKind.ZeroAllocated;
        bool inPlace = hasHost && (dataFile is not null || old.Entry.IsCopied);
        (int writeFrom, int writeTo, SubclusterBitmap subclusters) = Geometry.HasExtendedL2
            ? PlanSubclusters(old, kind, inPlace, from, to)
            : inPlace && kind == L2EntryKind.Normal ? (from, to, default) : (0, Geometry.ClusterSizeBytes, default(SubclusterBitmap));
        long host = (long)old.Entry.HostOffset;
        bool isAllocated = false;
        if (dataFile is not null)
        {
            // A data file has the disk's length, and not that of whole clusters.
            host = cluster;
            writeTo = (int)Math.Min(writeTo, Geometry.VirtualSizeBytes - cluster);
        }
        else if (inPlace)
        {
            RequireNoStructureAt(host, cluster, old);
        }
        else
        {
            host = Geometry.OffsetOf(await AllocateAsync(cancellationToken).ConfigureAwait(false)).Bytes;
            isAllocated = true;
        }

        var written = new ClusterEntry(L2Entry.Create((ulong)host, isCopied: true), subclusters);
        return new ClusterWrite(cluster, host, writeFrom, writeTo, old, written, isAllocated);
    }

    /// <summary>Which bytes of a cluster with subclusters must be written for a range, and the subcluster bits afterwards.</summary>
    private (int From, int To, SubclusterBitmap Subclusters) PlanSubclusters(
        ClusterEntry old, L2EntryKind kind, bool inPlace, int from, int to)
    {
        if (kind == L2EntryKind.Compressed)
        {
            return (0, Geometry.ClusterSizeBytes, new SubclusterBitmap(uint.MaxValue, 0));
        }

        int size = Geometry.SubclusterSizeBytes;
        int first = from / size;
        int last = (to - 1) / size;
        uint stays = old.Subclusters.Allocated;
        if (stays != 0 && !inPlace)
        {
            // The data move to another cluster, including all bytes in between.
            first = Math.Min(first, BitOperations.TrailingZeroCount(stays));
            last = Math.Max(last, 31 - BitOperations.LeadingZeroCount(stays));
            stays = 0;
        }

        uint written = Mask(first, last);
        return (
            (stays >> first & 1) != 0 ? from : first * size,
            (stays >> last & 1) != 0 ? to : (last + 1) * size,
            new SubclusterBitmap(stays | written, old.Subclusters.Zero & ~written));
    }

    private static uint Mask(int first, int last) => (uint)(((1UL << (last - first + 1)) - 1) << first);

    private ClusterEntry EntryOf(ulong[]? table, long guestOffset)
    {
        if (table is null)
        {
            return default;
        }

        int index = Geometry.L2Index(guestOffset);
        return Geometry.HasExtendedL2
            ? new ClusterEntry(new L2Entry(table[index * 2]), new SubclusterBitmap(table[(index * 2) + 1]))
            : new ClusterEntry(new L2Entry(table[index]), default);
    }

    private void Set(EditedL2Table table, long guestOffset, ClusterEntry entry)
    {
        int word = Geometry.L2Index(guestOffset) * Geometry.L2EntryBytes / sizeof(ulong);
        lock (Tables.Gate)
        {
            table.Entries[word] = entry.Entry.Raw;
            if (Geometry.HasExtendedL2)
            {
                table.Entries[word + 1] = entry.Subclusters.Raw;
            }

            table.Touch(word);
        }
    }

    /// <summary>Frees what the old entry refers to and the new one does not.</summary>
    private void Free(ClusterEntry old, ClusterEntry now)
    {
        if (old.Entry.IsCompressed)
        {
            CompressedDescriptor descriptor = old.Entry.Compressed(Geometry.ClusterBits);
            _refcounts!.Free(descriptor.HostOffset, descriptor.LengthBytes);
        }
        else if (dataFile is null && old.Entry.HostOffset != 0 && old.Entry.HostOffset != now.Entry.HostOffset)
        {
            _refcounts!.Free(old.Entry.HostOffset, Geometry.ClusterSizeBytes);
        }
    }

    private async ValueTask<HostCluster> AllocateAsync(CancellationToken cancellationToken)
    {
        try
        {
            return await _refcounts!.AllocateAsync(1, cancellationToken).ConfigureAwait(false);
        }
        catch (NoSpaceException) when (_refcounts!.HasFreed)
        {
            await CommitAsync(isAlone: false).ConfigureAwait(false);
            return await _refcounts.AllocateAsync(1, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Gets an L2 table that can be changed in place: a new one if there is none, a copy if a snapshot shares it.</summary>
    private async ValueTask OwnTableAsync(long l1Index, CancellationToken cancellationToken)
    {
        if (Tables.IsOwned(l1Index))
        {
            ulong offset = Tables.OffsetOf(l1Index);
            if (_refcounts!.Live.FindBesideL2(Geometry.ClusterAt(offset)) is { } what)
            {
                throw Overlap("L1 table", $"entry {l1Index}", ImageGeometry.EntryOffset(Tables.L1Offset, l1Index), offset, what);
            }

            return;
        }

        HostCluster cluster = await AllocateAsync(cancellationToken).ConfigureAwait(false);
        ulong shared = Tables.OffsetOf(l1Index);
        await Tables.EditAsync(l1Index, Geometry.OffsetOf(cluster).Bytes, cancellationToken).ConfigureAwait(false);
        if (shared != 0)
        {
            _refcounts!.Free(shared, Geometry.ClusterSizeBytes);
        }
    }

    private void RequireNoStructureAt(long host, long cluster, ClusterEntry old)
    {
        if (_refcounts!.Live.Find(Geometry.ClusterAt(new HostOffset(host))) is { } what)
        {
            ulong entry = Tables.OffsetOf(Geometry.L1Index(cluster)) + (ulong)(Geometry.L2Index(cluster) * Geometry.L2EntryBytes);
            throw Overlap("L2 table", $"entry for offset {cluster} of the disk", entry, old.Entry.Raw, what);
        }
    }

    private Qcow2FormatException Overlap(string structure, string field, ulong offset, ulong found, string what) => new(
        Faults.OfHex(FaultCode.L2Overlap, structure, field, offset, found, $"a cluster apart from {what}").Repairable,
        image.Name);
}
