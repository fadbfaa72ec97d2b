using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Creation;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Resizing;

/// <summary>Gives a disk another size: tables and bitmaps that change are written beside those in use, then the header switches to all of them.</summary>
/// <remarks>
/// Whatever was stored behind the old or the new end is dropped, also the rest of the cluster that the end is in, so that nothing old is read when the disk grows. QEMU keeps that rest and shows it.
/// But of a raw data file nothing is dropped: what it has behind the old end becomes the disk's.
/// </remarks>
internal sealed class ResizeChange
{
    private readonly Qcow2Image _image;
    private readonly ImageGeometry _geometry;
    private readonly ShadowRefcounts _counts;
    private readonly HeaderChange _update;
    private readonly TableEditor _tables;
    private readonly long _newSize;
    private readonly IBackingDisk? _backing;
    private readonly ImageStorage? _dataFile;
    private readonly Preallocation _preallocation;

    private ResizeChange(Qcow2Image image, long newSize, Qcow2ResizeOptions options, ShadowRefcounts counts, HeaderChange update, TableEditor tables)
    {
        _image = image;
        _geometry = image.Geometry;
        _newSize = newSize;
        _backing = options.Backing;
        _dataFile = image.Header.HasExternalDataFile ? options.DataFile : null;
        _preallocation = options.Preallocation;
        _counts = counts;
        _update = update;
        _tables = tables;
    }

    /// <summary>Checks what QEMU checks, in its order, then carries the change out.</summary>
    public static async ValueTask RunAsync(Qcow2Image image, long newSize, Qcow2ResizeOptions options, CancellationToken cancellationToken)
    {
        Qcow2Header header = image.Header;
        if (newSize < image.VirtualSizeBytes && !options.AllowShrink)
        {
            throw new ArgumentException(PrintableMessage.Of($"The disk has {image.VirtualSizeBytes} bytes, and shrinking to {newSize} is not allowed by the options."), nameof(newSize));
        }

        if (header.Version < 3 && header.SnapshotCount > 0)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.Version2, "Can't resize a v2 image which has snapshots");
        }

        if (options.Preallocation != Preallocation.Off && newSize <= image.VirtualSizeBytes)
        {
            throw new ArgumentException("Preallocation can only be used for growing images", nameof(options));
        }

        if (!Enum.IsDefined(options.Preallocation))
        {
            throw new ArgumentException(PrintableMessage.Of($"Preallocation {options.Preallocation} is none of off, metadata, falloc and full"), nameof(options));
        }

        var bitmaps = new BitmapResize(image, newSize);
        bitmaps.Check();
        if (header.HasExternalDataFile && options.DataFile is null)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.ExternalDataFile, $"'{image.Name}' keeps its data in an external file, which must be resized with it and is not given");
        }

        ReservedSpace.RequireFile(header.HasExternalDataFile ? options.DataFile! : image.Storage, options.Preallocation);
        if (image.Geometry.L1EntriesFor(newSize) > image.Limits.MaxL1TableBytes / ImageGeometry.TableEntryBytes)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.Limit, "Failed to grow the L1 table: File too large");
        }

        bitmaps.RequireRoom();
        DataFileResize? dataFile = DataFileOf(image, newSize, options);
        dataFile?.RequireRoom();
        ShadowRefcounts counts = await ShadowRefcounts.BeginAsync(image.Storage, image.Contents, image.Limits, searchesAll: newSize < image.VirtualSizeBytes, cancellationToken).ConfigureAwait(false);
        var update = new HeaderChange();
        TableEditor tables = await TableEditor.OpenAsync(image, counts, cancellationToken).ConfigureAwait(false);
        var change = new ResizeChange(image, newSize, options, counts, update, tables);
        await ShadowSwitch.RunAsync(
            image,
            counts,
            update,
            async () =>
            {
                await change.PrepareAsync(cancellationToken).ConfigureAwait(false);
                await bitmaps.PrepareAsync(counts, update, cancellationToken).ConfigureAwait(false);
                if (dataFile is not null)
                {
                    await dataFile.PrepareAsync(cancellationToken).ConfigureAwait(false);
                }
            },
            isCut: newSize < image.VirtualSizeBytes,
            cancellationToken).ConfigureAwait(false);
        if (dataFile is not null)
        {
            _ = await Leftovers.TidyAsync(
                $"'{image.Name}' is resized, but its data file '{change._dataFile!.Name}' is not cut to the disk's size", dataFile.FinishAsync).ConfigureAwait(false);
        }
    }

    private static DataFileResize? DataFileOf(Qcow2Image image, long newSize, Qcow2ResizeOptions options) => !image.Header.HasExternalDataFile
        ? null
        : new DataFileResize(
            options.DataFile!, image.Header.HasRawDataFile, image.Header.HasRawDataFile || options.Preallocation != Preallocation.Off, options.Preallocation, image.VirtualSizeBytes, newSize, image.ClusterSizeBytes);

    /// <summary>Whether entries name all that a data file gains: that of a raw one is there to be read.</summary>
    private bool NamesDataFile => _dataFile is not null && (_image.Header.HasRawDataFile || _preallocation != Preallocation.Off);

    /// <summary>Up to where the backing image would show through.</summary>
    private static long HiddenEnd(Qcow2Image image, long newSize, IBackingDisk? backing) =>
        Math.Min(newSize, image.BackingFile is null ? 0 : backing?.SizeBytes ?? long.MaxValue);

    private async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        // Behind this offset nothing that is stored shall be read.
        long kept = Math.Min(_image.VirtualSizeBytes, _newSize);
        long zeroEnd = HiddenEnd(_image, _newSize, _backing);
        if (zeroEnd > kept && _image.Header.Version < 3 && !_preallocation.TakesSpace())
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.Version2, "Failed to zero out new clusters: Operation not supported");
        }

        await _tables.ResizeAsync(_geometry.L1EntriesFor(_newSize), kept, cancellationToken).ConfigureAwait(false);
        if (_geometry.OffsetInCluster((ulong)kept) != 0)
        {
            await EditLastAsync(kept, hidesBacking: zeroEnd > kept, cancellationToken).ConfigureAwait(false);
        }

        long firstNew = _geometry.ClustersFor(kept) << _geometry.ClusterBits;
        if (NamesDataFile)
        {
            await FillAsync(firstNew, _newSize, (entry, offset) => EntryBytes.WriteData(entry, _geometry, offset, new SubclusterBitmap(uint.MaxValue, 0)), cancellationToken).ConfigureAwait(false);
        }
        else if (_preallocation != Preallocation.Off)
        {
            await PreallocateAsync(kept, zeroEnd > kept, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            await HideAsync(firstNew, zeroEnd, cancellationToken).ConfigureAwait(false);
        }

        await _tables.WriteL1Async(_update, cancellationToken).ConfigureAwait(false);
        _update.SetVirtualSize(_newSize);
    }

    /// <summary>Sees to the cluster that the disk ends in before or afterwards.</summary>
    private async ValueTask EditLastAsync(long kept, bool hidesBacking, CancellationToken cancellationToken)
    {
        bool takesSpace = _preallocation.TakesSpace();
        var last = new LastCluster(_image, _counts, _backing, _dataFile, hidesBacking, takesSpace);
        if (!_image.Header.HasRawDataFile)
        {
            await _tables.EditAsync(
                _geometry.L1Index(kept), createsTable: hidesBacking || takesSpace, (table, token) => last.CutAsync(table, kept, token), cancellationToken).ConfigureAwait(false);
        }
        else if (kept < _newSize)
        {
            await _tables.EditAsync(_geometry.L1Index(kept), createsTable: true, (table, token) => last.NameAsync(table, kept, token), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Gives all clusters behind the old end a place, and their space where that is asked for; also the cluster that the old end is in, where it has none.</summary>
    private async ValueTask PreallocateAsync(long kept, bool hidesBacking, CancellationToken cancellationToken)
    {
        long start = kept & -_geometry.ClusterSizeBytes;
        if (_preallocation == Preallocation.Falloc)
        {
            // Whether there is space for all of it shall be known at once.
            long end = _geometry.ClustersFor(_image.Storage.Length) << _geometry.ClusterBits;
            _ = await _image.Storage.TryAllocateAsync(end, _newSize - start, cancellationToken).ConfigureAwait(false);
        }

        while (start < _newSize)
        {
            cancellationToken.ThrowIfCancellationRequested();
            long tableEnd = (_geometry.L1Index(start) + 1) * _geometry.L2EntriesPerTable << _geometry.ClusterBits;
            long from = start;
            long clusters = _geometry.ClustersFor(Math.Min(_newSize, tableEnd) - from);
            await _tables.EditAsync(
                _geometry.L1Index(from),
                createsTable: true,
                async (table, token) =>
                {
                    Memory<byte> entries = table.Slice(_geometry.L2Index(from) * _geometry.L2EntryBytes, (int)clusters * _geometry.L2EntryBytes);
                    if (from < kept && (_image.BackingFile is not null || BinaryPrimitives.ReadUInt64BigEndian(entries.Span) != 0))
                    {
                        // It has a place, or shows the backing image up to the old end.
                        entries = entries[_geometry.L2EntryBytes..];
                    }

                    await PlaceAsync(entries, hidesBacking, token).ConfigureAwait(false);
                    return !entries.IsEmpty;
                },
                cancellationToken).ConfigureAwait(false);
            start = tableEnd;
        }
    }

    /// <summary>Allocates clusters for entries in a row.</summary>
    private async ValueTask PlaceAsync(Memory<byte> entries, bool hidesBacking, CancellationToken cancellationToken)
    {
        ImageStorage storage = _image.Storage;
        int clusters = entries.Length / _geometry.L2EntryBytes;
        if (clusters == 0)
        {
            return;
        }

        HostOffset place = await _counts.AllocateDataAsync(clusters, cancellationToken).ConfigureAwait(false);
        long offset = place.Bytes;
        long length = _geometry.BytesOfClusters(clusters);
        bool isDevice = storage.CapacityBytes is not null;
        if (isDevice && _image.Header.Version < 3)
        {
            // Entries of version 2 cannot say that a cluster reads as zeros.
            await ReservedSpace.WriteZerosAsync(storage, offset, length, cancellationToken).ConfigureAwait(false);
        }
        else if (!isDevice && storage.Length < offset + length)
        {
            await storage.SetLengthAsync(offset + length, cancellationToken).ConfigureAwait(false);
        }

        await ReservedSpace.TakeAsync(storage, offset, length, _preallocation, cancellationToken).ConfigureAwait(false);
        bool isZero = _image.Header.Version >= 3 && (isDevice || (hidesBacking && _preallocation == Preallocation.Metadata));
        WritePlaces(entries.Span, offset, isZero, hidesBacking);
    }

    /// <summary>Extended entries say nothing of their subclusters, so that these read as zeros, unless something is to be hidden.</summary>
    private void WritePlaces(Span<byte> entries, long offset, bool isZero, bool hidesBacking)
    {
        SubclusterBitmap subclusters = !hidesBacking ? default : isZero ? new SubclusterBitmap(0, uint.MaxValue) : new SubclusterBitmap(uint.MaxValue, 0);
        for (int at = 0; at < entries.Length; at += _geometry.L2EntryBytes)
        {
            if (!_geometry.HasExtendedL2)
            {
                BinaryPrimitives.WriteUInt64BigEndian(entries[at..], L2Entry.Create((ulong)offset, isCopied: true, isZero).Raw);
            }
            else
            {
                var there = new SubclusterBitmap(BinaryPrimitives.ReadUInt64BigEndian(entries[(at + sizeof(ulong))..]));
                EntryBytes.WriteData(entries[at..], _geometry, offset, there.Raw == 0 ? subclusters : there);
            }

            offset += _geometry.ClusterSizeBytes;
        }
    }

    /// <summary>Has zeros hide what the backing image has behind the old end. Where it reads as zeros itself, that takes nothing.</summary>
    private async ValueTask HideAsync(long start, long end, CancellationToken cancellationToken)
    {
        if (_backing is null)
        {
            await FillAsync(start, end, (entry, _) => EntryBytes.WriteZero(entry, _geometry), cancellationToken).ConfigureAwait(false);
            return;
        }

        await foreach (StorageRange data in _backing.ListDataAsync(Math.Min(start, end), end, cancellationToken).ConfigureAwait(false))
        {
            long dataEnd = Math.Min(end, _geometry.ClustersFor(data.EndOffset) << _geometry.ClusterBits);
            await FillAsync(
                Math.Max(start, data.Offset & -_geometry.ClusterSizeBytes), dataEnd, (entry, _) => EntryBytes.WriteZero(entry, _geometry), cancellationToken).ConfigureAwait(false);
            start = Math.Max(start, dataEnd);
        }
    }

    /// <summary>Writes the entries of whole clusters.</summary>
    private async ValueTask FillAsync(long start, long end, EntryWriter write, CancellationToken cancellationToken)
    {
        while (start < end)
        {
            cancellationToken.ThrowIfCancellationRequested();
            long tableEnd = (_geometry.L1Index(start) + 1) * _geometry.L2EntriesPerTable << _geometry.ClusterBits;
            int first = _geometry.L2Index(start);
            int count = (int)_geometry.ClustersFor(Math.Min(end, tableEnd) - start);
            long from = start;
            await _tables.EditAsync(
                _geometry.L1Index(start),
                createsTable: true,
                (table, _) =>
                {
                    for (int i = 0; i < count; i++)
                    {
                        write(table.Span[((first + i) * _geometry.L2EntryBytes)..], from + _geometry.BytesOfClusters(i));
                    }

                    return ValueTask.FromResult(true);
                },
                cancellationToken).ConfigureAwait(false);
            start = tableEnd;
        }
    }

    private delegate void EntryWriter(Span<byte> entry, long guestOffset);
}
