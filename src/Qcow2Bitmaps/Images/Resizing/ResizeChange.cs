using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Resizing;

/// <summary>Gives a disk another size: tables and bitmaps that change are written beside those in use, then the header switches to all of them.</summary>
/// <remarks>
/// Whatever was stored behind the old or the new end is dropped, also the rest of the cluster that the end is in, so that nothing old is read when the disk grows. QEMU keeps that rest and shows it.
/// </remarks>
internal sealed class ResizeChange
{
    private readonly Qcow2Image _image;
    private readonly ImageGeometry _geometry;
    private readonly ShadowRefcounts _counts;
    private readonly HeaderUpdate _update;
    private readonly TableEditor _tables;
    private readonly long _newSize;
    private readonly IBackingDisk? _backing;
    private readonly ImageStorage? _dataFile;

    private ResizeChange(Qcow2Image image, long newSize, Qcow2ResizeOptions options, ShadowRefcounts counts, HeaderUpdate update, TableEditor tables)
    {
        _image = image;
        _geometry = image.Geometry;
        _newSize = newSize;
        _backing = options.Backing;
        _dataFile = image.Header.HasExternalDataFile ? options.DataFile : null;
        _counts = counts;
        _update = update;
        _tables = tables;
    }

    /// <summary>Checks what QEMU checks, in its order, then carries the change out.</summary>
    public static async ValueTask RunAsync(Qcow2Image image, long newSize, Qcow2ResizeOptions options, CancellationToken cancellationToken)
    {
        Qcow2Header header = image.Header;
        string name = $"'{PrintableText.Escape(image.Name)}'";
        if (newSize < image.VirtualSizeBytes && !options.AllowShrink)
        {
            throw new ArgumentException($"The disk has {image.VirtualSizeBytes} bytes, and shrinking to {newSize} is not allowed by the options.", nameof(newSize));
        }

        if (header.Version < 3 && header.SnapshotCount > 0)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.Version2, "Can't resize a v2 image which has snapshots");
        }

        var bitmaps = new BitmapResize(image, newSize, HiddenEnd(image, newSize, options.Backing));
        bitmaps.Check();
        if (header.HasExternalDataFile && options.DataFile is null)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.ExternalDataFile, $"{name} keeps its data in an external file, which must be resized with it and is not given");
        }

        if (image.Geometry.L1EntriesFor(newSize) > image.Limits.MaxL1TableBytes / ImageGeometry.TableEntryBytes)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.Limit, "Failed to grow the L1 table: File too large");
        }

        bitmaps.RequireRoom();
        ShadowRefcounts counts = await ShadowRefcounts.BeginAsync(image.Storage, image.Contents, image.Limits, searchesAll: newSize < image.VirtualSizeBytes, cancellationToken).ConfigureAwait(false);
        HeaderUpdate update = await HeaderUpdate.ReadAsync(image.Storage, header, cancellationToken).ConfigureAwait(false);
        TableEditor tables = await TableEditor.OpenAsync(image, counts, cancellationToken).ConfigureAwait(false);
        var change = new ResizeChange(image, newSize, options, counts, update, tables);
        DataFileResize? dataFile = change._dataFile is { } file
            ? new DataFileResize(file, change.IsRaw, image.VirtualSizeBytes, newSize, image.ClusterSizeBytes)
            : null;
        await ShadowSwitch.RunAsync(
            image,
            counts,
            update,
            async () =>
            {
                if (dataFile is not null)
                {
                    await dataFile.PrepareAsync(cancellationToken).ConfigureAwait(false);
                }

                await change.PrepareAsync(cancellationToken).ConfigureAwait(false);
                await bitmaps.PrepareAsync(counts, update, cancellationToken).ConfigureAwait(false);
            },
            isCut: newSize < image.VirtualSizeBytes,
            cancellationToken).ConfigureAwait(false);
        if (dataFile is not null)
        {
            await dataFile.FinishAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Whether a data file shall read like the disk for those who do not know the image, so that entries name all of it.</summary>
    private bool IsRaw => _dataFile is not null && _image.Header.AutoclearFeatures.HasFlag(AutoclearFeatures.RawExternalData);

    /// <summary>Up to where the backing image would show through.</summary>
    private static long HiddenEnd(Qcow2Image image, long newSize, IBackingDisk? backing) =>
        Math.Min(newSize, !image.HasBacking ? 0 : backing?.SizeBytes ?? long.MaxValue);

    private async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        // Behind this offset nothing that is stored shall be read.
        long kept = Math.Min(_image.VirtualSizeBytes, _newSize);
        long zeroEnd = HiddenEnd(_image, _newSize, _backing);
        if (zeroEnd > kept && _image.Header.Version < 3)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.Version2, "Failed to zero out new clusters: Operation not supported");
        }

        await _tables.ResizeAsync(_geometry.L1EntriesFor(_newSize), kept, cancellationToken).ConfigureAwait(false);
        if (_geometry.OffsetInCluster((ulong)kept) != 0)
        {
            var last = new LastCluster(_image, _counts, _backing, _dataFile, hidesBacking: zeroEnd > kept);
            await _tables.EditAsync(
                _geometry.L1Index(kept), createsTable: zeroEnd > kept, (table, token) => last.CutAsync(table, kept, token), cancellationToken).ConfigureAwait(false);
        }

        long firstNew = _geometry.ClustersFor(kept) << _geometry.ClusterBits;
        await FillAsync(firstNew, zeroEnd, (entry, _) => EntryBytes.WriteZero(entry, _geometry), cancellationToken).ConfigureAwait(false);
        if (IsRaw)
        {
            await FillAsync(firstNew, _newSize, (entry, offset) => EntryBytes.WriteData(entry, _geometry, offset, new SubclusterBitmap(uint.MaxValue, 0)), cancellationToken).ConfigureAwait(false);
        }

        await _tables.WriteL1Async(_update, cancellationToken).ConfigureAwait(false);
        _update.SetVirtualSize(_newSize);
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
                        write(table.Span[((first + i) * _geometry.L2EntryBytes)..], from + ((long)i << _geometry.ClusterBits));
                    }

                    return ValueTask.FromResult(true);
                },
                cancellationToken).ConfigureAwait(false);
            start = tableEnd;
        }
    }

    private delegate void EntryWriter(Span<byte> entry, long guestOffset);
}
