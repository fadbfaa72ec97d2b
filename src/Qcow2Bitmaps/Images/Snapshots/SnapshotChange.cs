using System.Buffers.Binary;
using System.Globalization;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Snapshots;

/// <summary>
/// Creates, deletes and applies internal snapshots: everything that changes is written to new clusters, then the header's first sector
/// switches to all of it.
/// </summary>
/// <remarks>
/// Counts and the flags that depend on them change atomically, which QEMU's order of writes cannot do: an interruption anywhere leaves the
/// old or the new image, and a check finds nothing. Until the switch, this takes space for copies of the L2 tables and refcount blocks that
/// change.
/// </remarks>
internal sealed class SnapshotChange
{
    private readonly ImageHandle _image;
    private readonly ImageStorage _storage;
    private readonly Qcow2Header _header;
    private readonly ImageContents _contents;
    private readonly ShadowRefcounts _counts;
    private readonly TreeCounts _trees;
    private readonly HeaderChange _update;

    private SnapshotChange(ImageHandle image, ShadowRefcounts counts, HeaderChange update)
    {
        _image = image;
        _storage = image.Storage;
        _header = image.Header;
        _contents = image.Contents;
        _counts = counts;
        _trees = new TreeCounts(_storage, _header, counts);
        _update = update;
    }

    /// <summary>Makes a change, or leaves the image unchanged.</summary>
    /// <param name="image">The image.</param>
    /// <param name="prepare">Writes the new structures, and sets what the header will refer to.</param>
    /// <param name="cancellationToken">Cancels the work while the image is unchanged.</param>
    public static ValueTask RunAsync(ImageHandle image, Func<SnapshotChange, ValueTask> prepare, CancellationToken cancellationToken)
    {
        Func<ImageHandle, ValueTask> change = one => ChangeAsync(one, prepare, cancellationToken);
        return TableChange.RunAsync(image, change, change, cancellationToken);
    }

    private static async ValueTask ChangeAsync(
        ImageHandle image, Func<SnapshotChange, ValueTask> prepare, CancellationToken cancellationToken)
    {
        if (image.Header.HasExternalDataFile)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.ExternalDataFile, $"'{image.Name}' keeps its data in an external file, which has no snapshots");
        }

        ShadowRefcounts counts = await ShadowRefcounts.BeginAsync(
            image.Storage, image.Contents, image.Limits, searchesAll: false, cancellationToken).ConfigureAwait(false);
        var update = new HeaderChange();
        var change = new SnapshotChange(image, counts, update);
        await ShadowSwitch.RunAsync(image, counts, update, () => prepare(change), null, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Takes a snapshot of the active state.</summary>
    public async ValueTask<SnapshotInfo> CreateAsync(string name, DateTimeOffset time, CancellationToken cancellationToken)
    {
        if (_header.SnapshotCount >= (uint)_image.Limits.MaxSnapshots)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Limit, $"'{_image.Name}' has {_header.SnapshotCount} snapshots, the most that there may be");
        }

        ulong[] l1 = await ReadL1Async(_header.L1TableOffset, _header.L1Size, cancellationToken).ConfigureAwait(false);
        var tables = L2Tables.Of(_storage, _header.Geometry, _header.L1TableOffset, l1);
        await _trees.RaiseAsync(tables, isMoved: true, cancellationToken).ConfigureAwait(false);
        await _trees.AddTablesAsync(tables, 1, cancellationToken).ConfigureAwait(false);
        ulong[] shared = await _trees.ApplyAsync(tables, l1, cancellationToken).ConfigureAwait(false);
        await ReplaceL1Async(l1, shared, cancellationToken).ConfigureAwait(false);
        ulong copy = shared.Length == 0
            ? 0
            : await WriteTableAsync(BigEndianTable.BytesOf(shared), cancellationToken).ConfigureAwait(false);

        List<SnapshotRecord> records = await ReadRecordsAsync(cancellationToken).ConfigureAwait(false);
        byte[] entry = BuildEntry(name, NextId(), time, copy, (uint)l1.Length);
        await WriteRecordsAsync([.. records.Select(static record => record.Bytes), entry], cancellationToken).ConfigureAwait(false);
        _ = SnapshotEntry.TryRead(entry, out SnapshotEntry written);
        return SnapshotInfo.Of(written);
    }

    /// <summary>Removes a snapshot and frees the clusters that only it uses.</summary>
    public async ValueTask DeleteAsync(string name, CancellationToken cancellationToken)
    {
        SnapshotInfo snapshot = Find(static snapshot => snapshot.Name, name) ?? throw NotFound(name);
        RequireReadable(snapshot);
        ulong[] l1 = await ReadL1Async(_header.L1TableOffset, _header.L1Size, cancellationToken).ConfigureAwait(false);
        ulong[] gone = await ReadL1Async(snapshot.L1TableOffset, snapshot.L1Size, cancellationToken).ConfigureAwait(false);
        var goneTables = L2Tables.Of(_storage, _header.Geometry, snapshot.L1TableOffset, gone);
        await _trees.LowerAsync(goneTables, cancellationToken).ConfigureAwait(false);
        await _trees.AddTablesAsync(goneTables, -1, cancellationToken).ConfigureAwait(false);
        if (snapshot.L1Size > 0)
        {
            await _counts.FreeAsync(snapshot.L1TableOffset, snapshot.L1TableBytes, cancellationToken).ConfigureAwait(false);
        }

        var tables = L2Tables.Of(_storage, _header.Geometry, _header.L1TableOffset, l1);
        await _trees.SettleFlagsAsync(tables, cancellationToken).ConfigureAwait(false);
        await ReplaceL1Async(
            l1, await _trees.ApplyAsync(tables, l1, cancellationToken).ConfigureAwait(false), cancellationToken).ConfigureAwait(false);
        List<SnapshotRecord> records = await ReadRecordsAsync(cancellationToken).ConfigureAwait(false);
        await WriteRecordsAsync(
            [.. records.Where(record => record.Info != snapshot).Select(static record => record.Bytes)],
            cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Makes a snapshot's state the active one, its disk size included.</summary>
    public async ValueTask ApplyAsync(string idOrName, CancellationToken cancellationToken)
    {
        if (_header.AutoclearFeatures.HasFlag(AutoclearFeatures.Bitmaps) && _contents.Bitmaps.Bitmaps.Count > 0)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.SnapshotWithBitmaps, "Device has active dirty bitmaps");
        }

        SnapshotInfo snapshot = Find(static snapshot => snapshot.Id, idOrName)
            ?? Find(static snapshot => snapshot.Name, idOrName)
            ?? throw NotFound(idOrName);
        RequireReadable(snapshot);
        long size = (long)(snapshot.DiskSizeBytes ?? _header.VirtualSize);
        if (size != (long)_header.VirtualSize && _header.Version < 3)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.Version2, "Can't resize a v2 image which has snapshots");
        }

        ulong[] l1 = await ReadL1Async(_header.L1TableOffset, _header.L1Size, cancellationToken).ConfigureAwait(false);
        ulong[] then = await ReadL1Async(snapshot.L1TableOffset, snapshot.L1Size, cancellationToken).ConfigureAwait(false);
        var tables = L2Tables.Of(_storage, _header.Geometry, snapshot.L1TableOffset, then);
        await _trees.RaiseAsync(tables, isMoved: false, cancellationToken).ConfigureAwait(false);
        await _trees.AddTablesAsync(tables, 1, cancellationToken).ConfigureAwait(false);
        var oldTables = L2Tables.Of(_storage, _header.Geometry, _header.L1TableOffset, l1);
        await _trees.LowerAsync(oldTables, cancellationToken).ConfigureAwait(false);
        await _trees.AddTablesAsync(oldTables, -1, cancellationToken).ConfigureAwait(false);

        ulong[] active = await _trees.ApplyAsync(tables, then, cancellationToken).ConfigureAwait(false);
        Array.Resize(ref active, (int)Math.Max(active.Length, _header.Geometry.L1EntriesFor(size)));
        await ReplaceL1Async(l1, active, cancellationToken).ConfigureAwait(false);
        _update.SetVirtualSize(size);
    }

    private SnapshotInfo? Find(Func<SnapshotInfo, string> key, string wanted) =>
        _contents.Snapshots.Snapshots.FirstOrDefault(snapshot => string.Equals(key(snapshot), wanted, StringComparison.Ordinal));

    private SnapshotStateException NotFound(string name) => new(name, $"'{_image.Name}' has no snapshot '{name}'");

    /// <summary>Checks what QEMU requires of a snapshot before using it.</summary>
    private void RequireReadable(SnapshotInfo snapshot)
    {
        string structure = $"snapshot '{snapshot.Name}'";
        FormatFault? fault = Faults.CheckTable(
            FaultCode.SnapshotL1Table, structure, ("L1 table", _header.SnapshotsOffset),
            new StoredTable(snapshot.L1TableOffset, snapshot.L1Size), (ulong)_image.Limits.MaxL1TableBytes, _header.Geometry.ClusterBits);
        if (fault is null && snapshot.DiskSizeBytes is { } size
            && (size > Faults.MaxOffset
                || _header.Geometry.L1EntriesFor((long)size) > _image.Limits.MaxL1TableBytes / ImageGeometry.TableEntryBytes))
        {
            fault = Faults.Of(
                FaultCode.SnapshotL1Table, structure, "disk size", _header.SnapshotsOffset, size,
                "a size whose L1 table is within the limit");
        }

        if (fault is not null)
        {
            throw new Qcow2FormatException(fault, _image.Name);
        }
    }

    /// <summary>Reads all of an L1 table; everything past the end of the file is zeros.</summary>
    private async ValueTask<ulong[]> ReadL1Async(ulong offset, uint entries, CancellationToken cancellationToken)
    {
        ulong[] l1 = await BigEndianTable.ReadAsync(_storage, offset, entries, cancellationToken).ConfigureAwait(false);
        Array.Resize(ref l1, (int)entries);
        return l1;
    }

    private async ValueTask ReplaceL1Async(ulong[] old, ulong[] now, CancellationToken cancellationToken)
    {
        if (old.AsSpan().SequenceEqual(now))
        {
            return;
        }

        ulong offset = await WriteTableAsync(BigEndianTable.BytesOf(now), cancellationToken).ConfigureAwait(false);
        if (old.Length > 0)
        {
            await _counts.FreeAsync(
                _header.L1TableOffset, ImageGeometry.BytesOfEntries(old.Length), cancellationToken).ConfigureAwait(false);
        }

        _update.SetL1Table(offset, (uint)now.Length);
    }

    private async ValueTask<ulong> WriteTableAsync(byte[] bytes, CancellationToken cancellationToken)
    {
        HostOffset offset = await _counts.AllocateAsync(bytes.Length, cancellationToken).ConfigureAwait(false);
        await WholeClusters.WriteAsync(_storage, _header.Geometry, offset, bytes, cancellationToken).ConfigureAwait(false);
        return offset.Raw;
    }

    private async ValueTask<List<SnapshotRecord>> ReadRecordsAsync(CancellationToken cancellationToken)
    {
        var table = new byte[_contents.Snapshots.LengthBytes];
        await _storage.ReadZeroFilledAsync((long)_header.SnapshotsOffset, table, cancellationToken).ConfigureAwait(false);
        return SnapshotRecord.ListOf(_contents.Snapshots.Snapshots, table);
    }

    private async ValueTask WriteRecordsAsync(IReadOnlyList<ReadOnlyMemory<byte>> records, CancellationToken cancellationToken)
    {
        long length = records.Sum(static record => (long)record.Length);
        if (length > _image.Limits.MaxSnapshotTableBytes)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Limit,
                $"'{_image.Name}': the snapshot table would take {length} bytes, at most {_image.Limits.MaxSnapshotTableBytes} are "
                + $"allowed");
        }

        var table = new byte[length];
        int at = 0;
        foreach (ReadOnlyMemory<byte> record in records)
        {
            record.CopyTo(table.AsMemory(at));
            at += record.Length;
        }

        if (_contents.Snapshots.LengthBytes > 0)
        {
            await _counts.FreeAsync(_header.SnapshotsOffset, _contents.Snapshots.LengthBytes, cancellationToken).ConfigureAwait(false);
        }

        _update.SetSnapshots(length == 0 ? 0 : await WriteTableAsync(table, cancellationToken).ConfigureAwait(false), (uint)records.Count);
    }

    private byte[] BuildEntry(string name, string id, DateTimeOffset time, ulong l1Offset, uint l1Size)
    {
        // As qemu-img writes them: no VM state, the disk's size, an instruction count of 0.
        var extra = new byte[SnapshotEntry.KnownExtraDataBytes];
        BinaryPrimitives.WriteUInt64BigEndian(extra.AsSpan(sizeof(ulong)), (ulong)_image.Geometry.VirtualSizeBytes);
        long seconds = time.ToUnixTimeSeconds();
        var entry = new SnapshotEntry
        {
            L1TableOffset = l1Offset,
            L1Size = l1Size,
            Seconds = (uint)seconds,
            Nanoseconds = (uint)((time - DateTimeOffset.FromUnixTimeSeconds(seconds)).Ticks / TimeSpan.TicksPerMicrosecond * 1000),
            ExtraData = extra,
            Id = ImageText.Encode(id),
            Name = ImageText.Encode(name),
        };
        var bytes = new byte[entry.SizeBytes];
        entry.Write(bytes);
        return bytes;
    }

    /// <summary>The number after the largest one that an id begins with.</summary>
    private string NextId()
    {
        ulong largest = 0;
        foreach (SnapshotInfo snapshot in _contents.Snapshots.Snapshots)
        {
            int digits = snapshot.Id.AsSpan().IndexOfAnyExceptInRange('0', '9');
            ReadOnlySpan<char> number = digits < 0 ? snapshot.Id : snapshot.Id.AsSpan(0, digits);
            if (ulong.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out ulong id))
            {
                largest = Math.Max(largest, id);
            }
        }

        return largest < ulong.MaxValue
            ? (largest + 1).ToString(CultureInfo.InvariantCulture)
            : throw new Qcow2UnsupportedException(
                UnsupportedReason.Limit, $"'{_image.Name}' has a snapshot of id {largest}: there is no larger one");
    }
}
