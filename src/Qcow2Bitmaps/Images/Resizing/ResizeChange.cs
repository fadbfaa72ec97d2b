using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Resizing;

/// <summary>Resizes a disk: changed structures are written to new clusters, then the header switches to all of them.</summary>
/// <remarks>
/// Everything stored past the old or the new end is dropped, including the rest of the cluster that contains the end, so that no old data
/// are visible when the disk grows. QEMU keeps that rest and shows it. A raw data file is an exception: its content past the old end
/// becomes part of the disk.
/// </remarks>
internal sealed partial class ResizeChange
{
    private const int SectorBytes = 512;

    private readonly ImageHandle _image;
    private readonly ImageGeometry _geometry;
    private readonly ShadowRefcounts _counts;
    private readonly HeaderChange _update;
    private readonly TableEditor _tables;
    private readonly long _newSize;
    private readonly Disk? _backing;
    private readonly ImageStorage? _dataFile;
    private readonly Preallocation _preallocation;

    private ResizeChange(
        ImageHandle image, long newSize, Qcow2ResizeOptions options, ShadowRefcounts counts, HeaderChange update, TableEditor tables)
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

    /// <summary>Resizes the disk, or leaves the image unchanged.</summary>
    public static async ValueTask RunAsync(
        ImageHandle image, long sizeBytes, Qcow2ResizeOptions options, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(sizeBytes);
        if (sizeBytes % SectorBytes != 0)
        {
            throw new ArgumentOutOfRangeException(nameof(sizeBytes), sizeBytes, $"The new size must be a multiple of {SectorBytes}");
        }

        await TableChange.RunAsync(
            image,
            one => ChangeAsync(one, sizeBytes, options, cancellationToken),
            copy => ChangeAsync(
                copy, sizeBytes,
                options with { DataFile = options.DataFile is { } file ? new RehearsalStorage(file, isBounded: false) : null },
                cancellationToken),
            cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Refuses to cut a disk, of qcow2 or raw, unless that is wanted.</summary>
    internal static void RequireConsent(long oldSize, long newSize, bool allowShrink)
    {
        if (newSize < oldSize && !allowShrink)
        {
            throw new ArgumentException(
                $"The disk has {oldSize} bytes, and shrinking to {newSize} is not allowed.", nameof(newSize));
        }
    }

    /// <summary>Checks what QEMU checks, in its order, then makes the change.</summary>
    private static async ValueTask ChangeAsync(
        ImageHandle image, long newSize, Qcow2ResizeOptions options, CancellationToken cancellationToken)
    {
        Qcow2Header header = image.Header;
        RequireConsent(image.Geometry.VirtualSizeBytes, newSize, options.AllowShrink);
        if (header.Version < 3 && header.SnapshotCount > 0)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.Version2, "Can't resize a v2 image which has snapshots");
        }

        if (options.Preallocation != Preallocation.Off && newSize <= image.Geometry.VirtualSizeBytes)
        {
            throw new ArgumentException("Preallocation can only be used for growing images", nameof(options));
        }

        if (!Enum.IsDefined(options.Preallocation))
        {
            throw new ArgumentException(
                $"Preallocation {options.Preallocation} is none of off, metadata, falloc and full", nameof(options));
        }

        var bitmaps = new BitmapResize(image, newSize);
        bitmaps.Check();
        if (header.HasExternalDataFile && options.DataFile is null)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.ExternalDataFile,
                $"'{image.Name}' keeps its data in an external file, which must be resized with it and is not given");
        }

        ReservedSpace.RequireFile(header.HasExternalDataFile ? options.DataFile! : image.Storage, options.Preallocation);
        if (image.Geometry.L1EntriesFor(newSize) > image.Limits.MaxL1TableBytes / ImageGeometry.TableEntryBytes)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.Limit, "Failed to grow the L1 table: File too large");
        }

        bitmaps.RequireRoom();
        DataFileResize? dataFile = DataFileOf(image, newSize, options);
        dataFile?.RequireRoom();
        bool isShorter = newSize < image.Geometry.VirtualSizeBytes;
        ShadowRefcounts counts = await ShadowRefcounts
            .BeginAsync(image.Storage, image.Contents, image.Limits, searchesAll: isShorter, cancellationToken).ConfigureAwait(false);
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
            dataFile is null
                ? null
                : async () => _ = await Leftovers.TidyAsync(
                    $"'{image.Name}' keeps its size, but its data file stays longer", dataFile.TakeBackAsync).ConfigureAwait(false),
            cancellationToken).ConfigureAwait(false);
        if (isShorter && image.Storage.CapacityBytes is null)
        {
            _ = await Leftovers.TidyAsync(
                $"'{image.Name}' is changed, but its file is not cut to what is in use",
                () => CutFileAsync(image, counts)).ConfigureAwait(false);
        }

        if (dataFile is not null)
        {
            string file = options.DataFile!.Name;
            string left = $"'{image.Name}' is resized, but its data file '{file}' is not cut to the disk's size";
            _ = await Leftovers.TidyAsync(left, dataFile.FinishAsync).ConfigureAwait(false);
        }
    }

    /// <summary>Truncates the file after everything in use. Counts alone are not enough: they may be wrong.</summary>
    private static async ValueTask CutFileAsync(ImageHandle image, ShadowRefcounts counts)
    {
        await image.ReloadAsync().ConfigureAwait(false);
        ulong end = await NamedEnd.FindAsync(image, CancellationToken.None).ConfigureAwait(false)
            ?? throw IOException.Of($"not all tables of '{image.Name}' can be read");
        await counts.CutFileAsync(end, CancellationToken.None).ConfigureAwait(false);
    }

    private static DataFileResize? DataFileOf(ImageHandle image, long newSize, Qcow2ResizeOptions options)
    {
        Preallocation preallocation = options.Preallocation;
        bool isRaw = image.Header.HasRawDataFile;
        bool isNamed = isRaw || preallocation != Preallocation.Off;
        return image.Header.HasExternalDataFile
            ? new DataFileResize(
                options.DataFile!, isRaw, isNamed, preallocation, image.Geometry.VirtualSizeBytes, newSize, image.Geometry.ClusterSizeBytes)
            : null;
    }

    /// <summary>Whether entries refer to all of the space added to a data file: content that a raw one has there must be visible.</summary>
    private bool NamesDataFile => _dataFile is not null && (_image.Header.HasRawDataFile || _preallocation != Preallocation.Off);

    /// <summary>Where the backing image's visible data would end.</summary>
    private static long HiddenEnd(ImageHandle image, long newSize, Disk? backing) =>
        Math.Min(newSize, image.Contents.First.BackingFile is null ? 0 : backing?.SizeBytes ?? long.MaxValue);

    private async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        // Nothing stored past this offset may be visible.
        long kept = Math.Min(_image.Geometry.VirtualSizeBytes, _newSize);
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
            await FillAsync(
                firstNew,
                _newSize,
                (entry, offset) => EntryBytes.WriteData(entry, _geometry, offset, new SubclusterBitmap(uint.MaxValue, 0)),
                cancellationToken).ConfigureAwait(false);
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

    /// <summary>Adjusts the cluster in which the old or the new disk ends.</summary>
    private async ValueTask EditLastAsync(long kept, bool hidesBacking, CancellationToken cancellationToken)
    {
        bool takesSpace = _preallocation.TakesSpace();
        var last = new LastCluster(_image, _counts, _backing, _dataFile, hidesBacking, takesSpace);
        if (!_image.Header.HasRawDataFile)
        {
            await _tables.EditAsync(
                _geometry.L1Index(kept),
                createsTable: hidesBacking || takesSpace,
                (table, token) => last.CutAsync(table, kept, token),
                cancellationToken).ConfigureAwait(false);
        }
        else if (kept < _newSize)
        {
            await _tables.EditAsync(
                _geometry.L1Index(kept),
                createsTable: true,
                (table, token) => last.NameAsync(table, kept, token),
                cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Hides the backing image's data past the old end with zero clusters. Takes no space where the backing image reads as
    /// zeros.</summary>
    private async ValueTask HideAsync(long start, long end, CancellationToken cancellationToken)
    {
        void WriteZero(Span<byte> entry, long guestOffset) => EntryBytes.WriteZero(entry, _geometry);

        if (_backing is null)
        {
            await FillAsync(start, end, WriteZero, cancellationToken).ConfigureAwait(false);
            return;
        }

        await foreach (StorageRange data
            in _backing.ListDataAsync(Math.Min(start, end), end, unitBytes: 1, cancellationToken).ConfigureAwait(false))
        {
            long dataEnd = Math.Min(end, _geometry.ClustersFor(data.EndOffset) << _geometry.ClusterBits);
            long dataStart = Math.Max(start, data.Offset & -_geometry.ClusterSizeBytes);
            await FillAsync(dataStart, dataEnd, WriteZero, cancellationToken).ConfigureAwait(false);
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
