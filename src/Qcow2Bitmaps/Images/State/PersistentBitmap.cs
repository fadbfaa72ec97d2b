using System.Globalization;
using System.Runtime.InteropServices;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.State;

/// <summary>The bits of a bitmap in an image, read page by page: a page is what an entry of its table covers.</summary>
/// <remarks>
/// Missing data (a table or bits past the end of the file, and, for a lenient reader, a broken entry) count as dirty: an extra dirty bit
/// costs a little time, a missing one loses data. QEMU reads zeros past the end of the file.
/// </remarks>
internal sealed class PersistentBitmap : IBitmapPages
{
    private readonly ImageStorage _storage;
    private readonly string _structure;
    private readonly FaultLog _log;
    private readonly ulong[] _table;
    private readonly BitmapGeometry _geometry;
    // An edit lets the file grow while it reads: what was missing must not turn into zeros in between.
    private readonly long _lengthBytes;
    private bool _missesEntries;

    private PersistentBitmap(ImageStorage storage, string structure, FaultLog log, BitmapGeometry geometry, ulong[]? table = null)
    {
        _storage = storage;
        _structure = structure;
        _log = log;
        _geometry = geometry;
        _lengthBytes = storage.Length;
        _table = table ?? new ulong[geometry.PageCount];
    }

    public long SizeBytes => _geometry.SizeBytes;

    public int GranularityBits => _geometry.GranularityBits;

    public int PageShift => _geometry.PageShift;

    /// <summary>
    /// The fault for entries that share clusters, found by a lenient reader: such bits can be streamed, but not held in memory.
    /// </summary>
    public FormatFault? Aliases { get; private set; }

    /// <summary>Reads the table of a bitmap whose bits may be read.</summary>
    /// <exception cref="ArgumentException">The bitmap is not of the image, or was read before the last edit.</exception>
    /// <exception cref="BitmapStateException">The bitmap is inconsistent, and the reader not lenient.</exception>
    /// <exception cref="Qcow2FormatException">The directory entry or the table is invalid.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<PersistentBitmap> OpenAsync(
        ImageHandle image, BitmapInfo info, FaultLog log, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(info);
        IReadOnlyList<BitmapInfo> bitmaps = image.Contents.Bitmaps.Bitmaps;
        if (info.Index >= bitmaps.Count || !ReferenceEquals(bitmaps[info.Index], info))
        {
            throw new ArgumentException(
                PrintableMessage.Of($"{info} is not a bitmap of this image, or was read before the last edit"), nameof(info));
        }

        RequireConsistent(image.Storage, info, log);
        RequireReadable(image, info, log);
        var geometry = new BitmapGeometry(
            image.Geometry.VirtualSizeBytes, BitmapGranularity.BitsOf(info.GranularityBytes), image.Geometry.ClusterBits + 3);
        var bitmap = new PersistentBitmap(image.Storage, StructureOf(info.Name), log, geometry);
        await bitmap.ReadTableAsync(info, image.Geometry, cancellationToken).ConfigureAwait(false);
        return bitmap;
    }

    /// <summary>Reads by a table that was written just now.</summary>
    public static PersistentBitmap OfTable(ImageStorage storage, string name, BitmapGeometry geometry, ulong[] table, FaultLog log) =>
        new(storage, StructureOf(name), log, geometry, table);

    public BitmapPageKind KindOf(int page)
    {
        var entry = new BitmapTableEntry(_table[page]);
        return entry.HasData ? BitmapPageKind.Bits : entry.IsAllOnes ? BitmapPageKind.AllDirty : BitmapPageKind.AllClean;
    }

    /// <summary>The table's entry; invalid ones, and those past the end of the file, count as all dirty.</summary>
    public BitmapTableEntry EntryOf(int page) => new(_table[page]);

    /// <summary>
    /// Whether the file has all bits of a page: what it misses counts as dirty, but would read as clean once the file has grown.
    /// </summary>
    public bool IsWhole(int page) =>
        !EntryOf(page).HasData || (long)EntryOf(page).Offset + ((long)_geometry.WordsIn(page) * sizeof(ulong)) <= _lengthBytes;

    /// <summary>Whether the file does not have all entries of the table, or all bits of a page.</summary>
    public bool MissesBits
    {
        get
        {
            bool missesPages = _missesEntries;
            for (int page = 0; page < _table.Length && !missesPages; page++)
            {
                missesPages = !IsWhole(page);
            }

            return missesPages;
        }
    }

    public async ValueTask ReadPageAsync(int page, Memory<ulong> words, CancellationToken cancellationToken)
    {
        long offset = (long)new BitmapTableEntry(_table[page]).Offset;
        using var bytes = new WordBytes(words);
        int present = (int)Math.Clamp(_lengthBytes - offset, 0, bytes.Memory.Length);
        int read = await _storage.ReadAsync(offset, bytes.Memory[..present], cancellationToken).ConfigureAwait(false);
        Complete(page, words.Span, offset, read);
    }

    private static void RequireConsistent(ImageStorage storage, BitmapInfo info, FaultLog log)
    {
        if (info.State != BitmapState.Inconsistent)
        {
            return;
        }

        if (!log.IsLenient)
        {
            string elsewhere = storage.IsOpenForWritingElsewhere()
                ? ": another process has the image open for writing and keeps the bitmap in memory"
                : "";
            throw new BitmapStateException(info.Name, $"Bitmap '{info.Name}' is inconsistent and cannot be used{elsewhere}");
        }

        log.Note(new FormatFault(
            FaultCode.BitmapInUse, $"bitmap '{info.Name}'", "flags", info.TableOffset, "in-use, or ignored by QEMU",
            "a bitmap that was saved: the stored bits miss all changes since the last save and are no record of changes"));
    }

    /// <summary>Throws for bitmaps that only a lenient reader lists and that cannot be read at all.</summary>
    private static void RequireReadable(ImageHandle image, BitmapInfo info, FaultLog log)
    {
        FormatFault? unreadable = info.Faults.FirstOrDefault(static fault =>
            fault.Code is FaultCode.BitmapGranularity or FaultCode.BitmapTableOffset or FaultCode.BitmapType);
        if (unreadable is not null)
        {
            throw log.Fatal(unreadable);
        }

        if (info.TableOffset > Faults.MaxOffset)
        {
            // Allowed in the directory while the bitmap is in use.
            throw log.Fatal(Faults.OfHex(
                FaultCode.BitmapTableOffset, $"bitmap '{info.Name}'", "bitmap_table_offset", info.TableOffset, info.TableOffset,
                "below 2^63"));
        }

        long needed = image.Geometry.BitmapTableEntries(BitmapGranularity.BitsOf(info.GranularityBytes));
        long allowed = Math.Min(image.Limits.MaxBitmapTableEntries, image.Limits.MaxBitmapBytes >> image.Geometry.ClusterBits);
        if (needed > allowed)
        {
            throw log.Fatal(Faults.Of(
                FaultCode.BitmapTableSize, $"bitmap '{info.Name}'", "table entries for this disk and granularity", info.TableOffset, needed,
                $"at most {allowed}"));
        }
    }

    private async ValueTask ReadTableAsync(BitmapInfo info, ImageGeometry image, CancellationToken cancellationToken)
    {
        int present = (int)Math.Min(info.TableEntries, (uint)_table.Length);
        ulong[] read = await BigEndianTable.ReadAsync(_storage, info.TableOffset, present, cancellationToken).ConfigureAwait(false);
        int whole = read.Length;
        read.CopyTo(_table, 0);
        if (whole < present)
        {
            _missesEntries = true;
            _log.Note(Faults.Of(
                FaultCode.BitmapTableTruncated, _structure, "entries up to the file's end", info.TableOffset, whole,
                $"{present}; the missing ones count as dirty"));
        }

        // Entries missing because the table is too short, with a lenient reader, count like entries past the end of the file.
        _table.AsSpan(whole).Fill(BitmapTableEntry.AllOnes.Raw);
        for (int i = 0; i < whole; i++)
        {
            CheckEntry(i, ImageGeometry.EntryOffset(info.TableOffset, i), image.ClusterBits, _lengthBytes);
        }

        CheckAliases(info, image.ClustersFor(_lengthBytes));
    }

    /// <summary>Detects tables that claim more than the file holds: a small file could otherwise exhaust the memory.</summary>
    private void CheckAliases(BitmapInfo info, long clusters)
    {
        long named = _table.LongCount(static raw => new BitmapTableEntry(raw).HasData);
        if (named > clusters)
        {
            Aliases = Faults.Of(
                FaultCode.BitmapTableAliased, _structure, "entries that name a cluster", info.TableOffset, named,
                $"at most {clusters}, the clusters of the file: entries share clusters");
            _log.Report(Aliases);
        }
    }

    private void CheckEntry(int index, ulong entryOffset, int clusterBits, long storageLength)
    {
        var entry = new BitmapTableEntry(_table[index]);
        FaultCode code = entry.Check(clusterBits);
        if (code != FaultCode.None)
        {
            _log.Report(Faults.OfHex(
                code, _structure, EntryName(index), entryOffset, entry.Raw,
                "0, 1, or an offset in bits 9 to 55 that is aligned to a cluster"));
            _table[index] = BitmapTableEntry.AllOnes.Raw;
        }
        else if (entry.HasData && entry.Offset >= (ulong)storageLength)
        {
            NoteTruncated(index, entry.Offset, 0);
            _missesEntries = true;
            _table[index] = BitmapTableEntry.AllOnes.Raw;
        }
    }

    private void Complete(int page, Span<ulong> words, long offset, int read)
    {
        int bits = _geometry.BitsIn(page);
        if (read < words.Length * sizeof(ulong))
        {
            MemoryMarshal.AsBytes(words)[read..].Clear();
            LittleEndianWords.ToHostOrder(words);
            if ((long)read * 8 < bits)
            {
                NoteTruncated(page, (ulong)offset, read);
                BitKernels.Fill(words, read * 8, bits, true);
            }
        }
        else
        {
            LittleEndianWords.ToHostOrder(words);
        }

        ulong tail = words[^1] & ~BitmapGeometry.LastWordMask(bits);
        if (tail != 0)
        {
            words[^1] &= BitmapGeometry.LastWordMask(bits);
            _log.Note(Faults.OfHex(
                FaultCode.BitmapTailBits, _structure, "bits behind the disk's end",
                (ulong)offset + ((ulong)(words.Length - 1) * sizeof(ulong)), tail, "0; they are ignored"));
        }
    }

    private void NoteTruncated(int index, ulong offset, int read) => _log.Note(Faults.Of(
        FaultCode.BitmapDataTruncated, _structure, $"bytes of bits for {EntryName(index)} up to the file's end", offset, read,
        "all of them; the missing ones count as dirty"));

    private static string StructureOf(string name) => $"table of bitmap '{name}'";

    private static string EntryName(int index) => string.Create(CultureInfo.InvariantCulture, $"entry {index}");
}
