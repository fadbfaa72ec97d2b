using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Writing;

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

    private ResizeChange(Qcow2Image image, long newSize, IBackingDisk? backing, ShadowRefcounts counts, HeaderUpdate update, TableEditor tables)
    {
        _image = image;
        _geometry = image.Geometry;
        _newSize = newSize;
        _backing = backing;
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

        var bitmaps = new BitmapResize(image, newSize);
        bitmaps.Check();
        if (header.HasExternalDataFile)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.ExternalDataFile, $"{name} keeps its data in an external file, which cannot be resized here");
        }

        if (image.Geometry.L1EntriesFor(newSize) > image.Limits.MaxL1TableBytes / ImageGeometry.TableEntryBytes)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.Limit, "Failed to grow the L1 table: File too large");
        }

        bitmaps.RequireRoom();
        ShadowRefcounts counts = await ShadowRefcounts.BeginAsync(image.Storage, image.Contents, image.Limits, searchesAll: newSize < image.VirtualSizeBytes, cancellationToken).ConfigureAwait(false);
        HeaderUpdate update = await HeaderUpdate.ReadAsync(image.Storage, header, cancellationToken).ConfigureAwait(false);
        TableEditor tables = await TableEditor.OpenAsync(image, counts, cancellationToken).ConfigureAwait(false);
        var change = new ResizeChange(image, newSize, options.Backing, counts, update, tables);
        await ShadowSwitch.RunAsync(
            image,
            counts,
            update,
            async () =>
            {
                await change.PrepareAsync(cancellationToken).ConfigureAwait(false);
                await bitmaps.PrepareAsync(counts, update, cancellationToken).ConfigureAwait(false);
            },
            isCut: newSize < image.VirtualSizeBytes,
            cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        // Behind this offset nothing that is stored shall be read.
        long kept = Math.Min(_image.VirtualSizeBytes, _newSize);
        long zeroEnd = Math.Min(_newSize, !_image.HasBacking ? 0 : _backing?.SizeBytes ?? long.MaxValue);
        if (zeroEnd > kept && _image.Header.Version < 3)
        {
            throw new Qcow2UnsupportedException(UnsupportedReason.Version2, "Failed to zero out new clusters: Operation not supported");
        }

        await _tables.ResizeAsync(_geometry.L1EntriesFor(_newSize), kept, cancellationToken).ConfigureAwait(false);
        if (_geometry.OffsetInCluster((ulong)kept) != 0)
        {
            var last = new LastCluster(_image, _counts, _backing, hidesBacking: zeroEnd > kept);
            await _tables.EditAsync(
                _geometry.L1Index(kept), createsTable: zeroEnd > kept, (table, token) => last.CutAsync(table, kept, token), cancellationToken).ConfigureAwait(false);
        }

        await HideBackingAsync(_geometry.ClustersFor(kept) << _geometry.ClusterBits, zeroEnd, cancellationToken).ConfigureAwait(false);
        await _tables.WriteL1Async(_update, cancellationToken).ConfigureAwait(false);
        _update.SetVirtualSize(_newSize);
    }

    /// <summary>Lets whole clusters read as zeros that the backing image has something for.</summary>
    private async ValueTask HideBackingAsync(long start, long end, CancellationToken cancellationToken)
    {
        while (start < end)
        {
            cancellationToken.ThrowIfCancellationRequested();
            long tableEnd = (_geometry.L1Index(start) + 1) * _geometry.L2EntriesPerTable << _geometry.ClusterBits;
            int first = _geometry.L2Index(start);
            int count = (int)_geometry.ClustersFor(Math.Min(end, tableEnd) - start);
            await _tables.EditAsync(
                _geometry.L1Index(start),
                createsTable: true,
                (table, _) =>
                {
                    for (int i = first; i < first + count; i++)
                    {
                        EntryBytes.WriteZero(table.Span[(i * _geometry.L2EntryBytes)..], _geometry);
                    }

                    return ValueTask.FromResult(true);
                },
                cancellationToken).ConfigureAwait(false);
            start = tableEnd;
        }
    }
}
