using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Guest;

/// <summary>Finds out what an image has for each part of the disk, from its L1 and L2 tables, as the active state or a snapshot has it.</summary>
/// <remarks>
/// The L1 table is read once; of the L2 tables the last ones stay in memory. As QEMU does, reserved bits are passed over, tables behind the file's end read as zeros, and an
/// entry that cannot be is an error. Thread-safe, while nobody writes the image.
/// </remarks>
internal sealed class GuestMap
{
    private const int CachedBytes = 16 << 20;
    private const int ListedClusters = 4096;

    private readonly ImageStorage _storage;
    private readonly Qcow2Header _header;
    private readonly ImageGeometry _geometry;
    private readonly ulong[] _l1;
    private readonly (long Offset, ulong[] Entries)?[] _tables;
    private readonly Lock _gate = new();

    private GuestMap(ImageStorage storage, Qcow2Header header, long sizeBytes, ulong[] l1)
    {
        _storage = storage;
        _header = header;
        _geometry = header.Geometry;
        _l1 = l1;
        SizeBytes = sizeBytes;
        _tables = new (long, ulong[])?[Math.Clamp(CachedBytes >> _geometry.ClusterBits, 2, 256)];
    }

    /// <summary>The disk's size in bytes.</summary>
    public long SizeBytes { get; }

    /// <summary>Reads an L1 table.</summary>
    /// <param name="storage">The image.</param>
    /// <param name="header">Its header.</param>
    /// <param name="l1Offset">Where the table stands, in bytes.</param>
    /// <param name="l1Size">Its entries, checked against the limit.</param>
    /// <param name="sizeBytes">The disk's size in bytes.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public static async ValueTask<GuestMap> OpenAsync(
        ImageStorage storage, Qcow2Header header, ulong l1Offset, uint l1Size, long sizeBytes, CancellationToken cancellationToken) =>
        new(storage, header, sizeBytes, RequireApart(storage, header, l1Offset, sizeBytes, await BigEndianTable.ReadAsync(storage, l1Offset, l1Size, cancellationToken).ConfigureAwait(false)));

    /// <summary>Refuses L1 entries that share L2 tables for sure, as they are more than the file has clusters: a small file would look like terabytes in pieces.</summary>
    private static ulong[] RequireApart(ImageStorage storage, Qcow2Header header, ulong l1Offset, long sizeBytes, ulong[] l1)
    {
        ulong length = (ulong)storage.Length;
        long clusters = header.Geometry.ClustersFor((long)length);
        long tables = 0;
        int used = sizeBytes == 0 ? 0 : (int)Math.Min(l1.Length, header.Geometry.L1Index(sizeBytes - 1) + 1);
        for (int i = 0; i < used; i++)
        {
            ulong offset = new L1Entry(l1[i]).L2TableOffset;
            if (offset >= length && header.Geometry.IsClusterAligned(offset))
            {
                // Reads as zeros.
                l1[i] = 0;
            }
            else if (offset != 0)
            {
                tables++;
            }
        }

        return tables <= clusters ? l1 : throw new Qcow2FormatException(
            Faults.Of(FaultCode.L1TableAliased, "L1 table", "entries that name an L2 table", l1Offset, (ulong)tables, $"at most {clusters}, the clusters of the file: entries share tables"), storage.Name);
    }

    /// <summary>Lists what the image has from an offset on, up to an end or to where the next L2 table begins, or before where that would be many extents.</summary>
    /// <param name="offset">Where to start on the disk, in bytes.</param>
    /// <param name="end">Where to end at the latest, at most <see cref="SizeBytes"/>.</param>
    /// <param name="extents">Takes the extents, in ascending order; neighbours that continue one another in the file are one.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>Where the list ends.</returns>
    /// <exception cref="Qcow2FormatException">An entry cannot be.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<long> ListAsync(long offset, long end, List<GuestExtent> extents, CancellationToken cancellationToken)
    {
        long tableBytes = (long)_geometry.L2EntriesPerTable << _geometry.ClusterBits;
        long l1Index = _geometry.L1Index(offset);
        if (l1Index >= _l1.Length || !new L1Entry(_l1[l1Index]).IsAllocated)
        {
            long next = NextAllocated(l1Index);
            long emptyEnd = next < 0 || next > (end - 1) / tableBytes ? end : Math.Min(end, next * tableBytes);
            Add(extents, new GuestExtent(offset, emptyEnd - offset, GuestExtentKind.Unallocated, null));
            return emptyEnd;
        }

        ulong[] table = await ReadTableAsync(l1Index, cancellationToken).ConfigureAwait(false);
        long last = Math.Min(end, (l1Index + 1) * tableBytes);
        last = offset + Math.Min(last - offset, (long)ListedClusters << _geometry.ClusterBits);
        ListTable(table, offset, last, extents);
        return last;
    }

    private long NextAllocated(long l1Index)
    {
        if (l1Index >= _l1.Length)
        {
            return -1;
        }

        ReadOnlySpan<ulong> rest = _l1.AsSpan((int)l1Index);
        int at = rest.IndexOfAnyExcept(0UL);
        while (at >= 0 && !new L1Entry(rest[at]).IsAllocated)
        {
            int more = rest[(at + 1)..].IndexOfAnyExcept(0UL);
            at = more < 0 ? -1 : at + 1 + more;
        }

        return at < 0 ? -1 : l1Index + at;
    }

    private void ListTable(ulong[] table, long offset, long end, List<GuestExtent> extents)
    {
        int words = _geometry.L2EntryBytes / sizeof(ulong);
        int index = _geometry.L2Index(offset);
        while (offset < end)
        {
            long clusterEnd = Math.Min(end, ((offset >> _geometry.ClusterBits) + 1) << _geometry.ClusterBits);
            var entry = new L2Entry(table[index * words]);
            if (words == 1 && entry.Raw == 0)
            {
                // Runs of nothing are found by vectors.
                int run = table.AsSpan(index).IndexOfAnyExcept(0UL);
                run = run < 0 ? table.Length - index : run;
                clusterEnd = Math.Min(end, ((offset >> _geometry.ClusterBits) + run) << _geometry.ClusterBits);
                Add(extents, new GuestExtent(offset, clusterEnd - offset, GuestExtentKind.Unallocated, null));
                index += run;
                offset = clusterEnd;
                continue;
            }

            ListCluster(entry, words == 2 ? table[(index * 2) + 1] : 0, offset, clusterEnd, extents);
            offset = clusterEnd;
            index++;
        }
    }

    private void ListCluster(L2Entry entry, ulong subclusters, long offset, long end, List<GuestExtent> extents)
    {
        L2EntryKind kind = entry.Kind(_header);
        long inCluster = offset & (_geometry.ClusterSizeBytes - 1);
        if (kind == L2EntryKind.Compressed)
        {
            if (_header.HasExternalDataFile || subclusters != 0)
            {
                throw Broken(FaultCode.L2SubclusterBitmap, offset, entry.Raw, "no compressed cluster beside a data file, and one without subclusters");
            }

            CompressedDescriptor descriptor = entry.Compressed(_geometry.ClusterBits);
            extents.Add(new GuestExtent(offset, end - offset, GuestExtentKind.Compressed, (long)descriptor.HostOffset, descriptor.LengthBytes));
            return;
        }

        bool hasHostCluster = kind is L2EntryKind.Normal or L2EntryKind.ZeroAllocated;
        if (hasHostCluster && !_geometry.IsClusterAligned(entry.HostOffset))
        {
            throw Broken(FaultCode.L2EntryUnaligned, offset, entry.Raw, $"an offset that is a multiple of {_geometry.ClusterSizeBytes}");
        }

        if (hasHostCluster && _header.HasExternalDataFile && (long)entry.HostOffset != offset - inCluster)
        {
            throw Broken(FaultCode.L2DataFileOffset, offset, entry.Raw, "the same offset in the data file as on the disk");
        }

        long? host = hasHostCluster ? (long)entry.HostOffset + inCluster : null;
        if (_geometry.HasExtendedL2)
        {
            ListSubclusters(new SubclusterBitmap(subclusters), entry, offset, end, host, extents);
            return;
        }

        Add(extents, new GuestExtent(offset, end - offset, kind switch
        {
            L2EntryKind.Normal => GuestExtentKind.Data,
            L2EntryKind.Unallocated => GuestExtentKind.Unallocated,
            _ => GuestExtentKind.Zero,
        }, host));
    }

    private void ListSubclusters(SubclusterBitmap bitmap, L2Entry entry, long offset, long end, long? host, List<GuestExtent> extents)
    {
        if (bitmap.Check(isCompressed: false) != FaultCode.None || (host is null && bitmap.Allocated != 0))
        {
            throw Broken(FaultCode.L2SubclusterBitmap, offset, entry.Raw, "subclusters that are allocated or zero, not both, and allocated only in a cluster that the image has");
        }

        int subclusterBits = BitOperations.Log2((uint)_geometry.SubclusterSizeBytes);
        while (offset < end)
        {
            int index = (int)((offset & (_geometry.ClusterSizeBytes - 1)) >> subclusterBits);
            long next = Math.Min(end, ((offset >> subclusterBits) + 1) << subclusterBits);
            GuestExtentKind kind = (bitmap.Allocated >> index & 1) != 0 ? GuestExtentKind.Data
                : (bitmap.Zero >> index & 1) != 0 ? GuestExtentKind.Zero
                : GuestExtentKind.Unallocated;
            Add(extents, new GuestExtent(offset, next - offset, kind, host));
            host += next - offset;
            offset = next;
        }
    }

    /// <summary>Adds an extent, or lengthens the last one by it.</summary>
    private static void Add(List<GuestExtent> extents, GuestExtent extent)
    {
        if (extent.LengthBytes <= 0)
        {
            return;
        }

        if (extents.Count > 0)
        {
            ref GuestExtent last = ref CollectionsMarshal.AsSpan(extents)[^1];
            if (last.Kind == extent.Kind
                && last.EndBytes == extent.OffsetBytes
                && (last.HostOffset is { } host ? host + last.LengthBytes == extent.HostOffset : extent.HostOffset is null))
            {
                last = last with { LengthBytes = last.LengthBytes + extent.LengthBytes };
                return;
            }
        }

        extents.Add(extent);
    }

    private async ValueTask<ulong[]> ReadTableAsync(long l1Index, CancellationToken cancellationToken)
    {
        var entry = new L1Entry(_l1[l1Index]);
        if (!_geometry.IsClusterAligned(entry.L2TableOffset))
        {
            throw new Qcow2FormatException(
                Faults.OfHex(FaultCode.L1EntryUnaligned, "L1 table", $"entry {l1Index}", _header.L1TableOffset + ((ulong)l1Index * ImageGeometry.TableEntryBytes), entry.Raw, $"an offset that is a multiple of {_geometry.ClusterSizeBytes}"), _storage.Name);
        }

        long offset = (long)entry.L2TableOffset;
        int slot = (int)(l1Index % _tables.Length);
        lock (_gate)
        {
            if (_tables[slot] is { } cached && cached.Offset == offset)
            {
                return cached.Entries;
            }
        }

        var table = new ulong[_geometry.ClusterSizeBytes / sizeof(ulong)];
        using (var bytes = new WordBytes(table))
        {
            await _storage.ReadZeroFilledAsync(offset, bytes.Memory, cancellationToken).ConfigureAwait(false);
        }

        // From big endian to the machine's order, whatever that is.
        LittleEndianWords.ToHostOrder(table);
        BinaryPrimitives.ReverseEndianness(table, table);

        lock (_gate)
        {
            _tables[slot] = (offset, table);
        }

        return table;
    }

    private Qcow2FormatException Broken(FaultCode code, long guestOffset, ulong raw, string allowed)
    {
        ulong table = new L1Entry(_l1[_geometry.L1Index(guestOffset)]).L2TableOffset;
        ulong entry = table + ((ulong)_geometry.L2Index(guestOffset) * (ulong)_geometry.L2EntryBytes);
        return new Qcow2FormatException(Faults.OfHex(code, "L2 table", $"entry for offset {guestOffset} of the disk", entry, raw, allowed), _storage.Name);
    }
}
