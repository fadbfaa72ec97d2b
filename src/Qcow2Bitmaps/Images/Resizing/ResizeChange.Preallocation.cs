using System.Buffers.Binary;
using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Resizing;

/// <summary>Allocating at once what the disk gains.</summary>
internal sealed partial class ResizeChange
{
    /// <summary>Allocates offsets for all clusters from the old end on, including the one that contains it, and space if
    /// requested.</summary>
    private async ValueTask PreallocateAsync(long kept, bool hidesBacking, CancellationToken cancellationToken)
    {
        long start = kept & -_geometry.ClusterSizeBytes;
        if (_preallocation == Preallocation.Falloc)
        {
            // Fails early if there is not enough space for all of it.
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
                    int first = _geometry.L2Index(from);
                    Memory<byte> entries = table.Slice(first * _geometry.L2EntryBytes, (int)clusters * _geometry.L2EntryBytes);
                    if (from < kept
                        && (_image.Contents.First.BackingFile is not null || BinaryPrimitives.ReadUInt64BigEndian(entries.Span) != 0))
                    {
                        // This cluster already has an offset, or shows the backing image up to the old end.
                        entries = entries[_geometry.L2EntryBytes..];
                    }

                    await PlaceAsync(entries, hidesBacking, token).ConfigureAwait(false);
                    return !entries.IsEmpty;
                },
                cancellationToken).ConfigureAwait(false);
            start = tableEnd;
        }
    }

    /// <summary>Allocates clusters for consecutive entries.</summary>
    private async ValueTask PlaceAsync(Memory<byte> entries, bool hidesBacking, CancellationToken cancellationToken)
    {
        ImageStorage storage = _image.Storage;
        int clusters = entries.Length / _geometry.L2EntryBytes;
        if (clusters == 0)
        {
            return;
        }

        long offset = (await _counts.AllocateDataAsync(clusters, cancellationToken).ConfigureAwait(false)).Bytes;
        long length = _geometry.BytesOfClusters(clusters);
        bool isDevice = storage.CapacityBytes is not null;
        if (isDevice && _image.Header.Version < 3)
        {
            // Version 2 entries have no zero flag.
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

    /// <summary>Extended entries mark no subcluster as allocated or zero, so that these read as zeros, unless a backing image must be
    /// hidden.</summary>
    private void WritePlaces(Span<byte> entries, long offset, bool isZero, bool hidesBacking)
    {
        SubclusterBitmap subclusters = !hidesBacking ? default
            : isZero ? new SubclusterBitmap(0, uint.MaxValue)
            : new SubclusterBitmap(uint.MaxValue, 0);
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
}
