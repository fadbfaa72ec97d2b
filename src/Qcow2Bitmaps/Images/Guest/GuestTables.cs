using System.Buffers.Binary;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Guest;

/// <summary>The L1 table of one state of the disk, and its recently read and its changed L2 tables.</summary>
/// <remarks>Thread-safe for readers. Callers that change or list the entries of a table must hold <see cref="Gate"/>.</remarks>
internal sealed partial class GuestTables
{
    private const int CachedBytes = 16 << 20;

    private readonly ImageStorage _storage;
    private readonly FileTrace? _trace = FileTrace.Current;
    private readonly (long Offset, ulong[] Entries)?[] _cache;
    private ulong[] _l1;
    // Counts changes by writers: tables read from the file before a change may be outdated.
    private long _generation;

    private GuestTables(ImageStorage storage, Qcow2Header header, ulong l1Offset, ulong[] l1)
    {
        _storage = storage;
        Header = header;
        L1Offset = l1Offset;
        _l1 = l1;
        _cache = new (long, ulong[])?[Math.Clamp(CachedBytes >> Geometry.ClusterBits, 2, 256)];
    }

    /// <summary>Held while a table's entries are read or changed.</summary>
    public Lock Gate { get; } = new();

    /// <summary>The image's header.</summary>
    public Qcow2Header Header { get; private set; }

    /// <summary>The L1 table's offset, in bytes.</summary>
    public ulong L1Offset { get; private set; }

    /// <summary>The cluster arithmetic.</summary>
    public ImageGeometry Geometry => Header.Geometry;

    /// <summary>Reads an L1 table.</summary>
    /// <param name="storage">The image.</param>
    /// <param name="header">Its header.</param>
    /// <param name="l1Offset">The table's offset, in bytes.</param>
    /// <param name="l1Size">The number of its entries, checked against the limit. Those past the end of the file count as zero.</param>
    /// <param name="sizeBytes">The disk's size in bytes.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="Qcow2FormatException">Some entries certainly share L2 tables.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<GuestTables> OpenAsync(
        ImageStorage storage, Qcow2Header header, ulong l1Offset, uint l1Size, long sizeBytes, CancellationToken cancellationToken)
    {
        ulong[] l1 = await BigEndianTable.ReadAsync(storage, l1Offset, l1Size, cancellationToken).ConfigureAwait(false);
        return new GuestTables(storage, header, l1Offset, RequireApart(storage, header, l1Offset, sizeBytes, l1));
    }

    /// <summary>Reads an L2 table.</summary>
    /// <param name="l1Index">The index of its entry in the L1 table; may be past the table's end.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>Its words, two for each extended entry; null if there is no table. Everything past the end of the file reads as
    /// zeros.</returns>
    /// <exception cref="Qcow2FormatException">The L1 entry is invalid.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<ulong[]?> ReadAsync(long l1Index, CancellationToken cancellationToken)
    {
        while (true)
        {
            (bool isCurrent, ulong[]? table) = await TryReadAsync(l1Index, cancellationToken).ConfigureAwait(false);
            if (isCurrent)
            {
                return table;
            }
        }
    }

    /// <summary>Reads an L2 table; the result is not current if a writer made changes meanwhile.</summary>
    private async ValueTask<(bool IsCurrent, ulong[]? Table)> TryReadAsync(long l1Index, CancellationToken cancellationToken)
    {
        _trace?.Ask(_storage.Name);
        L1Entry entry;
        int slot = (int)(l1Index % _cache.Length);
        long generation;
        lock (Gate)
        {
            generation = _generation;
            if (_edited.TryGetValue(l1Index, out EditedL2Table? edited))
            {
                return (true, edited.Entries);
            }

            if (l1Index >= _l1.Length || !(entry = new L1Entry(_l1[l1Index])).IsAllocated)
            {
                return (true, null);
            }

            if (_cache[slot] is { } cached && cached.Offset == (long)entry.L2TableOffset)
            {
                return (true, cached.Entries);
            }
        }

        if (!Geometry.IsClusterAligned(entry.L2TableOffset))
        {
            throw new Qcow2FormatException(
                Faults.OfHex(
                    FaultCode.L1EntryUnaligned, "L1 table", $"entry {l1Index}", ImageGeometry.EntryOffset(L1Offset, l1Index), entry.Raw,
                    $"an offset that is a multiple of {Geometry.ClusterSizeBytes}"),
                _storage.Name);
        }

        var table = new ulong[Geometry.ClusterSizeBytes / sizeof(ulong)];
        using (var bytes = new WordBytes(table))
        {
            await _storage.ReadZeroFilledAsync((long)entry.L2TableOffset, bytes.Memory, cancellationToken).ConfigureAwait(false);
        }

        // Converts big endian to the machine's byte order.
        LittleEndianWords.ToHostOrder(table);
        BinaryPrimitives.ReverseEndianness(table, table);

        lock (Gate)
        {
            if (generation != _generation)
            {
                return (false, null);
            }

            _cache[slot] = ((long)entry.L2TableOffset, table);
        }

        return (true, table);
    }

    /// <summary>The index of the first L1 entry at or after a given one that refers to a table; -1 without one.</summary>
    public long NextAllocated(long l1Index)
    {
        lock (Gate)
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
    }

    /// <summary>Throws if an entry is invalid.</summary>
    /// <param name="entry">The entry.</param>
    /// <param name="subclusters">Its subcluster bits; zero without subclusters.</param>
    /// <param name="offset">An offset on the disk in the entry's cluster.</param>
    /// <exception cref="Qcow2FormatException">It is invalid.</exception>
    public void RequireSane(L2Entry entry, SubclusterBitmap subclusters, long offset)
    {
        if (entry.IsCompressed)
        {
            if (Header.HasExternalDataFile || subclusters.Raw != 0)
            {
                throw Broken(
                    FaultCode.L2SubclusterBitmap, offset, entry.Raw,
                    "no compressed cluster beside a data file, and one without subclusters");
            }

            return;
        }

        bool hasHostCluster = entry.Kind(Header) is L2EntryKind.Normal or L2EntryKind.ZeroAllocated;
        if (hasHostCluster && !Geometry.IsClusterAligned(entry.HostOffset))
        {
            throw Broken(FaultCode.L2EntryUnaligned, offset, entry.Raw, $"an offset that is a multiple of {Geometry.ClusterSizeBytes}");
        }

        if (hasHostCluster && Header.HasExternalDataFile && (long)entry.HostOffset != (offset & -Geometry.ClusterSizeBytes))
        {
            throw Broken(FaultCode.L2DataFileOffset, offset, entry.Raw, "the same offset in the data file as on the disk");
        }

        if (Geometry.HasExtendedL2
            && (subclusters.Check(isCompressed: false) != FaultCode.None || (!hasHostCluster && subclusters.Allocated != 0)))
        {
            throw Broken(
                FaultCode.L2SubclusterBitmap, offset, entry.Raw,
                "subclusters that are allocated or zero, not both, and allocated only in a cluster that the image has");
        }
    }

    /// <summary>
    /// Refuses L1 tables with more entries in use than the file has clusters, which therefore share L2 tables: a small file would look like
    /// terabytes of fragments.
    /// </summary>
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
            Faults.Of(
                FaultCode.L1TableAliased, "L1 table", "entries that name an L2 table", l1Offset, tables,
                $"at most {clusters}, the clusters of the file: entries share tables"),
            storage.Name);
    }

    private Qcow2FormatException Broken(FaultCode code, long guestOffset, ulong raw, string allowed)
    {
        ulong table = new L1Entry(_l1[Geometry.L1Index(guestOffset)]).L2TableOffset;
        ulong entry = table + ((ulong)Geometry.L2Index(guestOffset) * (ulong)Geometry.L2EntryBytes);
        return new Qcow2FormatException(
            Faults.OfHex(code, "L2 table", $"entry for offset {guestOffset} of the disk", entry, raw, allowed), _storage.Name);
    }
}
