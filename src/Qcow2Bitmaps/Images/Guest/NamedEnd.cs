using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Guest;

/// <summary>How far a file has to reach for all that its image names to be there. A file that ends before that was probably not copied whole.</summary>
/// <remarks>
/// Tables alone are read, each once. Reference counts say less: a repair lowers those of clusters behind the end. To the byte, as QEMU may end a file inside its last cluster: behind the last
/// sector that compressed data touch, the last subcluster that has data, or the disk's end. Clusters that read as zeros whatever the file has lose nothing.
/// </remarks>
internal sealed class NamedEnd
{
    private readonly Qcow2Image _image;
    private readonly ImageStorage _storage;
    private readonly ImageGeometry _geometry;
    private readonly TableScanner _scanner;
    // How much of a table counts that a disk ends in: the last entry, and the bytes of its cluster.
    private readonly Dictionary<long, (int LastEntry, long LastBytes)> _diskEnds = [];
    private ulong _end;
    private string _what = "";

    private NamedEnd(Qcow2Image image)
    {
        _image = image;
        _storage = image.Storage;
        _geometry = image.Geometry;
        _scanner = new TableScanner(image.Storage);
    }

    /// <summary>Looks at an image's own file.</summary>
    /// <returns>What is missing; null where the file is whole.</returns>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<FormatFault?> FindFaultAsync(Qcow2Image image, CancellationToken cancellationToken)
    {
        var named = new NamedEnd(image);
        await named.AddRefcountsAsync(cancellationToken).ConfigureAwait(false);
        await named.AddGuestAsync(cancellationToken).ConfigureAwait(false);
        await named.AddBitmapsAsync(cancellationToken).ConfigureAwait(false);
        return FaultOf("file", image.Storage.Length, named._end, named._what);
    }

    /// <summary>Looks at an image's external data file.</summary>
    /// <returns>What is missing; null where the file is whole.</returns>
    /// <exception cref="IOException">A storage failed.</exception>
    public static async ValueTask<FormatFault?> FindDataFileFaultAsync(Qcow2Image image, ImageStorage data, CancellationToken cancellationToken)
    {
        var named = new NamedEnd(image);
        await named.AddDataFileAsync(cancellationToken).ConfigureAwait(false);
        return FaultOf($"external data file '{data.Name}'", data.Length, named._end, named._what);
    }

    private static FormatFault? FaultOf(string structure, long length, ulong end, string what) => end <= (ulong)length ? null : new FormatFault(
        FaultCode.FileTruncated, structure, "end", (ulong)length, "before clusters that it names", $"0x{end:x} or behind it, where {what}: it was probably not copied whole, and what is missing reads as zeros");

    private void Add(ulong offset, long bytes, string what)
    {
        // Offsets of broken headers and entries reach up to 2^64.
        ulong end = offset > ulong.MaxValue - (ulong)bytes ? ulong.MaxValue : offset + (ulong)bytes;
        if (bytes > 0 && end > _end)
        {
            (_end, _what) = (end, what);
        }
    }

    /// <summary>Adds where the blocks start: without them the next writer takes clusters in use for free ones. Of the last one a part may not have been written.</summary>
    private async ValueTask AddRefcountsAsync(CancellationToken cancellationToken)
    {
        Qcow2Header header = _image.Header;
        Add(header.RefcountTableOffset, 1, "the refcount table starts");
        long entries = (long)header.RefcountTableClusters << (_geometry.ClusterBits - 3);
        foreach (ulong raw in await BigEndianTable.ReadAsync(_storage, header.RefcountTableOffset, entries, cancellationToken).ConfigureAwait(false))
        {
            ulong block = new RefcountTableEntry(raw).BlockOffset;
            if (block != 0 && _geometry.IsClusterAligned(block))
            {
                Add(block, 1, "a refcount block starts");
            }
        }
    }

    private async ValueTask AddGuestAsync(CancellationToken cancellationToken)
    {
        Qcow2Header header = _image.Header;
        await AddL1Async(header.L1TableOffset, header.L1Size, _image.VirtualSizeBytes, cancellationToken).ConfigureAwait(false);
        foreach (SnapshotInfo snapshot in _image.Snapshots)
        {
            if (Faults.CheckTable(FaultCode.SnapshotL1Table, "", "", 0, snapshot.L1TableOffset, snapshot.L1Size, ImageGeometry.TableEntryBytes, (ulong)_image.Limits.MaxL1TableBytes, _geometry.ClusterBits) is null)
            {
                long size = snapshot.DiskSizeBytes is { } then and <= long.MaxValue ? (long)then : _image.VirtualSizeBytes;
                await AddL1Async(snapshot.L1TableOffset, snapshot.L1Size, size, cancellationToken).ConfigureAwait(false);
            }
        }

        var walk = new L2TableWalk(_scanner, [.. _diskEnds.Keys.Order().Select(static offset => new L2Table(offset, 1, 1))], _geometry.ClusterSizeBytes, activeOnly: false, new FindingLog());
        while (await walk.MoveNextAsync(cancellationToken).ConfigureAwait(false))
        {
            AddL2(walk.Table.Offset, walk.OffsetInTable / _geometry.L2EntryBytes, MemoryMarshal.Cast<byte, ulong>(walk.Bytes.Span));
        }
    }

    /// <summary>Adds an L1 table and the places of its L2 tables. Entries that cannot be name nothing; reading refuses them.</summary>
    private async ValueTask AddL1Async(ulong offset, uint entries, long sizeBytes, CancellationToken cancellationToken)
    {
        Add(offset, ImageGeometry.BytesOfEntries(entries), "an L1 table ends");
        (long start, long end) = _scanner.Clip(offset, ImageGeometry.BytesOfEntries(entries));
        long last = sizeBytes == 0 ? -1 : _geometry.L1Index(sizeBytes - 1);
        for (long position = start; await _scanner.NextAsync(position, end, cancellationToken).ConfigureAwait(false) is { Bytes.IsEmpty: false } piece; position = piece.EndOffset)
        {
            long first = (piece.Offset - start) / ImageGeometry.TableEntryBytes;
            AddL1(MemoryMarshal.Cast<byte, ulong>(piece.Bytes.Span), (int)Math.Clamp(last - first, -1, int.MaxValue), sizeBytes);
        }
    }

    private void AddL1(ReadOnlySpan<ulong> words, int last, long sizeBytes)
    {
        for (int i = 0; i < words.Length; i++)
        {
            var entry = new L1Entry(BinaryPrimitives.ReverseEndianness(words[i]));
            if (entry.IsAllocated && _geometry.IsClusterAligned(entry.L2TableOffset))
            {
                Add(entry.L2TableOffset, _geometry.ClusterSizeBytes, "an L2 table ends");
                AddDiskEnd((long)entry.L2TableOffset, i == last ? EndOf(sizeBytes) : (int.MaxValue, 0));
            }
        }
    }

    /// <summary>The entry of its table that a disk ends in, and how much of the cluster belongs to it.</summary>
    private (int Entry, long Bytes) EndOf(long sizeBytes) =>
        (_geometry.L2Index(sizeBytes - 1), ((sizeBytes - 1) & (_geometry.ClusterSizeBytes - 1)) + 1);

    /// <summary>Of a table that several states of the disk name, the one counts that has most of it.</summary>
    private void AddDiskEnd(long table, (int LastEntry, long LastBytes) end)
    {
        ref (int LastEntry, long LastBytes) known = ref CollectionsMarshal.GetValueRefOrAddDefault(_diskEnds, table, out bool exists);
        known = !exists || end.CompareTo(known) > 0 ? end : known;
    }

    private void AddL2(long table, int firstEntry, ReadOnlySpan<ulong> words)
    {
        (int lastEntry, long lastBytes) = _diskEnds[table];
        int step = _geometry.L2EntryBytes / sizeof(ulong);
        for (int i = 0; i + step <= words.Length && firstEntry + (i / step) <= lastEntry; i += step)
        {
            if (words[i] == 0)
            {
                int skipped = words[i..].IndexOfAnyExcept(0UL);
                if (skipped < 0)
                {
                    return;
                }

                i += Math.Max(skipped / step * step, step) - step;
                continue;
            }

            var entry = new L2Entry(BinaryPrimitives.ReverseEndianness(words[i]));
            if (!entry.IsCompressed && entry.HostOffset + (ulong)_geometry.ClusterSizeBytes <= _end)
            {
                continue;
            }

            ulong subclusters = step == 2 ? BinaryPrimitives.ReverseEndianness(words[i + 1]) : 0;
            AddEntry(entry, subclusters, firstEntry + (i / step) == lastEntry ? lastBytes : _geometry.ClusterSizeBytes);
        }
    }

    private void AddEntry(L2Entry entry, ulong subclusters, long bytes)
    {
        if (entry.IsCompressed)
        {
            // The last sector may be there in part: nobody knows how many of its bytes the data take.
            CompressedDescriptor descriptor = entry.Compressed(_geometry.ClusterBits);
            Add(descriptor.HostOffset, Math.Max(descriptor.LengthBytes - CompressedDescriptor.SectorBytes, 0) + 1, "compressed data end");
        }
        else if (entry.Kind(_image.Header) == L2EntryKind.Normal && !_image.Header.HasExternalDataFile)
        {
            Add(entry.HostOffset, DataBytes(subclusters, bytes), "guest data end");
        }
    }

    /// <summary>How many bytes of a cluster that has some have to be there.</summary>
    private long DataBytes(ulong subclusters, long bytes) => !_geometry.HasExtendedL2
        ? bytes
        : Math.Min(bytes, (32L - BitOperations.LeadingZeroCount((uint)new SubclusterBitmap(subclusters).Allocated)) * _geometry.SubclusterSizeBytes);

    /// <summary>Adds what the data file has to hold: the last data on the disk, as offsets in it are the disk's.</summary>
    private async ValueTask AddDataFileAsync(CancellationToken cancellationToken)
    {
        Qcow2Header header = _image.Header;
        long size = _image.VirtualSizeBytes;
        GuestTables tables = await GuestTables.OpenAsync(_storage, header, header.L1TableOffset, header.L1Size, size, cancellationToken).ConfigureAwait(false);
        for (long l1Index = size == 0 ? -1 : _geometry.L1Index(size - 1); l1Index >= 0 && _end == 0; l1Index--)
        {
            if (await tables.ReadAsync(l1Index, cancellationToken).ConfigureAwait(false) is not { } table)
            {
                continue;
            }

            int step = _geometry.L2EntryBytes / sizeof(ulong);
            long tableStart = (l1Index * _geometry.L2EntriesPerTable) << _geometry.ClusterBits;
            for (int i = table.Length - step; i >= 0 && _end == 0; i -= step)
            {
                long start = tableStart + ((long)(i / step) << _geometry.ClusterBits);
                if (start < size && new L2Entry(table[i]).Kind(header) == L2EntryKind.Normal)
                {
                    Add((ulong)start, DataBytes(step == 2 ? table[i + 1] : 0, Math.Min(_geometry.ClusterSizeBytes, size - start)), "guest data end");
                }
            }
        }
    }

    private async ValueTask AddBitmapsAsync(CancellationToken cancellationToken)
    {
        foreach (BitmapInfo bitmap in _image.Bitmaps)
        {
            if (bitmap.Faults.Count > 0)
            {
                continue;
            }

            Add(bitmap.TableOffset, bitmap.TableBytes, $"the table of bitmap '{bitmap.Name}' ends");
            ulong[] table = await BigEndianTable.ReadAsync(_storage, bitmap.TableOffset, bitmap.TableEntries, cancellationToken).ConfigureAwait(false);
            var geometry = new BitmapGeometry(_image.VirtualSizeBytes, BitmapGranularity.BitsOf(bitmap.GranularityBytes), _geometry.ClusterBits + 3);
            for (int page = 0; page < table.Length; page++)
            {
                var entry = new BitmapTableEntry(table[page]);
                if (entry.HasData && entry.Check(_geometry.ClusterBits) == FaultCode.None)
                {
                    // One that was not saved may have been made for another size of the disk.
                    Add(entry.Offset, page < geometry.PageCount ? (long)geometry.WordsIn(page) * sizeof(ulong) : 1, $"bits of bitmap '{bitmap.Name}' end");
                }
            }
        }
    }
}
