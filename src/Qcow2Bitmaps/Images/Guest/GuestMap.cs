using System.Numerics;
using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Guest;

/// <summary>Determines from the L1 and L2 tables of the active state or a snapshot how the image stores each part of the disk.</summary>
/// <remarks>
/// The L1 table is read once; recently used L2 tables are cached. As in QEMU, reserved bits are ignored, tables past the end of the file
/// read as zeros, and an invalid entry is an error. Thread-safe, unless the image is being written.
/// </remarks>
internal sealed class GuestMap
{
    // Counts clusters with an entry, and runs of clusters without one.
    private const int ListedParts = 4096;

    private readonly GuestTables _tables;

    /// <summary>A map of a disk.</summary>
    /// <param name="tables">Its tables.</param>
    /// <param name="sizeBytes">The disk's size in bytes.</param>
    public GuestMap(GuestTables tables, long sizeBytes)
    {
        _tables = tables;
        SizeBytes = sizeBytes;
    }

    /// <summary>The disk's size in bytes.</summary>
    public long SizeBytes { get; set; }

    /// <summary>The tables that the map is read from.</summary>
    public GuestTables Tables => _tables;

    private ImageGeometry Geometry => _tables.Geometry;

    /// <summary>
    /// Lists how the image stores a range, up to its end or to the start of the next L2 table, or less if there are many extents.
    /// </summary>
    /// <param name="offset">Where to start on the disk, in bytes.</param>
    /// <param name="end">Where to end at the latest, at most <see cref="SizeBytes"/>.</param>
    /// <param name="extents">Takes the extents, in ascending order; neighbours that continue one another in the file are one.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>Where the list ends.</returns>
    /// <exception cref="Qcow2FormatException">An entry is invalid.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<long> ListAsync(long offset, long end, List<DiskExtent> extents, CancellationToken cancellationToken)
    {
        long tableBytes = Geometry.BytesOfClusters(Geometry.L2EntriesPerTable);
        long l1Index = Geometry.L1Index(offset);
        if (await _tables.ReadAsync(l1Index, cancellationToken).ConfigureAwait(false) is not { } table)
        {
            long next = _tables.NextAllocated(l1Index);
            long emptyEnd = next < 0 || next > (end - 1) / tableBytes ? end : Math.Min(end, next * tableBytes);
            extents.Append(new DiskExtent(offset, emptyEnd - offset, ExtentKind.Unallocated, null));
            return emptyEnd;
        }

        long last = Math.Min(end, (l1Index + 1) * tableBytes);
        lock (_tables.Gate)
        {
            return ListTable(table, offset, last, extents);
        }
    }

    private long ListTable(ulong[] table, long offset, long end, List<DiskExtent> extents)
    {
        int words = Geometry.L2EntryBytes / sizeof(ulong);
        int index = Geometry.L2Index(offset);
        for (int parts = 0; offset < end && parts < ListedParts; parts++)
        {
            long clusterEnd = Math.Min(end, ((offset >> Geometry.ClusterBits) + 1) << Geometry.ClusterBits);
            var entry = new L2Entry(table[index * words]);
            if (words == 1 && entry.Raw == 0)
            {
                // Runs of unallocated clusters are found with vector instructions.
                int run = table.AsSpan(index).IndexOfAnyExcept(0UL);
                run = run < 0 ? table.Length - index : run;
                clusterEnd = Math.Min(end, ((offset >> Geometry.ClusterBits) + run) << Geometry.ClusterBits);
                extents.Append(new DiskExtent(offset, clusterEnd - offset, ExtentKind.Unallocated, null));
                index += run;
                offset = clusterEnd;
                continue;
            }

            ListCluster(entry, words == 2 ? table[(index * 2) + 1] : 0, offset, clusterEnd, extents);
            offset = clusterEnd;
            index++;
        }

        return offset;
    }

    private void ListCluster(L2Entry entry, ulong subclusters, long offset, long end, List<DiskExtent> extents)
    {
        _tables.RequireSane(entry, new SubclusterBitmap(subclusters), offset);
        L2EntryKind kind = entry.Kind(_tables.Header);
        long inCluster = offset & (Geometry.ClusterSizeBytes - 1);
        if (kind == L2EntryKind.Compressed)
        {
            CompressedDescriptor descriptor = entry.Compressed(Geometry.ClusterBits);
            extents.Add(new DiskExtent(offset, end - offset, ExtentKind.Compressed, (long)descriptor.HostOffset, descriptor.LengthBytes));
            return;
        }

        long? host = kind is L2EntryKind.Normal or L2EntryKind.ZeroAllocated ? (long)entry.HostOffset + inCluster : null;
        if (Geometry.HasExtendedL2)
        {
            ListSubclusters(new SubclusterBitmap(subclusters), offset, end, host, extents);
            return;
        }

        extents.Append(new DiskExtent(offset, end - offset, kind switch
        {
            L2EntryKind.Normal => ExtentKind.Data,
            L2EntryKind.Unallocated => ExtentKind.Unallocated,
            _ => ExtentKind.Zero,
        }, host));
    }

    private void ListSubclusters(SubclusterBitmap bitmap, long offset, long end, long? host, List<DiskExtent> extents)
    {
        int subclusterBits = BitOperations.Log2((uint)Geometry.SubclusterSizeBytes);
        while (offset < end)
        {
            int index = (int)((offset & (Geometry.ClusterSizeBytes - 1)) >> subclusterBits);
            long next = Math.Min(end, ((offset >> subclusterBits) + 1) << subclusterBits);
            ExtentKind kind = (bitmap.Allocated >> index & 1) != 0 ? ExtentKind.Data
                : (bitmap.Zero >> index & 1) != 0 ? ExtentKind.Zero
                : ExtentKind.Unallocated;
            extents.Append(new DiskExtent(offset, next - offset, kind, host));
            host += next - offset;
            offset = next;
        }
    }
}
