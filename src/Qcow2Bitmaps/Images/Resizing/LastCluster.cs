using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Guest;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Resizing;

/// <summary>
/// Makes the cluster in which a disk ends read as zeros past that end. Other states of the disk keep theirs: the change goes to a copy.
/// </summary>
/// <param name="image">The image.</param>
/// <param name="counts">The counts.</param>
/// <param name="backing">The backing image's disk; null if unknown.</param>
/// <param name="dataFile">The external data file; null without one.</param>
/// <param name="hidesBacking">Whether the backing image has data past the disk's end.</param>
/// <param name="takesSpace">Whether the whole cluster must have space allocated, so that a copy is made in any case.</param>
internal sealed class LastCluster(
    ImageHandle image, ShadowRefcounts counts, Disk? backing, ImageStorage? dataFile, bool hidesBacking, bool takesSpace)
{
    private readonly ImageStorage _storage = image.Storage;
    private readonly ImageGeometry _geometry = image.Geometry;
    // Without the key, no data can be written.
    private readonly bool _takesSpace = takesSpace && image.Header.CryptMethod == 0;

    /// <summary>Zeroes the cluster past the disk's end.</summary>
    /// <param name="table">The L2 table that has the cluster's entry.</param>
    /// <param name="end">Where the disk ends, in bytes, inside the cluster.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <returns>Whether the entry has changed.</returns>
    public async ValueTask<bool> CutAsync(Memory<byte> table, long end, CancellationToken cancellationToken)
    {
        int entryBytes = _geometry.L2EntryBytes;
        Memory<byte> bytes = table.Slice(_geometry.L2Index(end) * entryBytes, entryBytes);
        var entry = new L2Entry(BinaryPrimitives.ReadUInt64BigEndian(bytes.Span));
        var subclusters = new SubclusterBitmap(
            _geometry.HasExtendedL2 ? BinaryPrimitives.ReadUInt64BigEndian(bytes.Span[sizeof(ulong)..]) : 0);
        long clusterStart = end & -_geometry.ClusterSizeBytes;
        int kept = (int)(end - clusterStart);
        L2EntryKind kind = entry.Kind(image.Header);
        bool isUnallocated = kind == L2EntryKind.Unallocated && subclusters.Raw == 0;
        if (!_takesSpace && (kind is L2EntryKind.ZeroPlain or L2EntryKind.ZeroAllocated || (isUnallocated && !hidesBacking)))
        {
            return false;
        }

        if (image.Header.CryptMethod != 0 && !isUnallocated)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Encryption,
                $"'{image.Name}' is encrypted and its disk ends, or would end, inside a cluster that has data: "
                + $"what lies behind that end cannot be made zeros without the key");
        }

        var cluster = new byte[_geometry.ClusterSizeBytes];
        SubclusterBitmap now = await ReadAsync(
            entry, subclusters, clusterStart, kept, cluster, cancellationToken).ConfigureAwait(false);
        bool isNew = _takesSpace || isUnallocated || kind == L2EntryKind.Compressed || now.Allocated != subclusters.Allocated;
        if (!isNew && now == subclusters && !cluster.AsSpan(kept).ContainsAnyExcept((byte)0))
        {
            return false;
        }

        if (dataFile is not null && kind == L2EntryKind.Normal)
        {
            // The file itself is truncated there: no other state of the disk uses it.
            if ((now.Allocated & ~subclusters.Allocated) != 0)
            {
                int from = kept / _geometry.SubclusterSizeBytes * _geometry.SubclusterSizeBytes;
                await dataFile.WriteAsync(
                    clusterStart + from, cluster.AsMemory(from, kept - from), cancellationToken).ConfigureAwait(false);
                await dataFile.FlushAsync(cancellationToken).ConfigureAwait(false);
            }

            EntryBytes.WriteSubclusters(bytes.Span, _geometry, now);
            return now != subclusters;
        }

        cluster.AsSpan(kept).Clear();
        if (_geometry.HasExtendedL2 && now.Allocated == 0 && kind == L2EntryKind.Unallocated && !_takesSpace)
        {
            // Nothing but zeros: no space is needed.
            EntryBytes.WriteSubclusters(bytes.Span, _geometry, now);
            return true;
        }

        if (dataFile is not null)
        {
            await dataFile.WriteAsync(clusterStart, cluster.AsMemory(0, kept), cancellationToken).ConfigureAwait(false);
            await dataFile.FlushAsync(cancellationToken).ConfigureAwait(false);
            EntryBytes.WriteData(bytes.Span, _geometry, clusterStart, now);
            return true;
        }

        await FreeAsync(entry, kind, cancellationToken).ConfigureAwait(false);
        HostOffset offset = await counts.AllocateAsync(cluster.Length, cancellationToken).ConfigureAwait(false);
        await _storage.WriteAsync(offset.Bytes, cluster, cancellationToken).ConfigureAwait(false);
        EntryBytes.WriteData(bytes.Span, _geometry, offset.Bytes, now);
        return true;
    }

    /// <summary>Makes the cluster show all of a raw data file's content, also past the disk's end.</summary>
    /// <inheritdoc cref="CutAsync"/>
    /// <exception cref="Qcow2UnsupportedException">The file differs from the disk before that end.</exception>
    public async ValueTask<bool> NameAsync(Memory<byte> table, long end, CancellationToken cancellationToken)
    {
        Memory<byte> bytes = table.Slice(_geometry.L2Index(end) * _geometry.L2EntryBytes, _geometry.L2EntryBytes);
        var entry = new L2Entry(BinaryPrimitives.ReadUInt64BigEndian(bytes.Span));
        bool isNormal = entry.Kind(image.Header) == L2EntryKind.Normal;
        uint named = !isNormal ? 0
            : _geometry.HasExtendedL2 ? new SubclusterBitmap(BinaryPrimitives.ReadUInt64BigEndian(bytes.Span[sizeof(ulong)..])).Allocated
            : uint.MaxValue;
        if (named == uint.MaxValue)
        {
            return false;
        }

        long clusterStart = end & -_geometry.ClusterSizeBytes;
        int size = _geometry.SubclusterSizeBytes;
        for (long at = clusterStart; at < end; at += size)
        {
            // Where the image has zeros, a raw file must have zeros.
            bool isHidden = (named >> (int)((at - clusterStart) / size) & 1) == 0;
            if (isHidden
                && await NonZeroSearch.FindAsync(
                    dataFile!, at, Math.Min(end, at + size), cancellationToken).ConfigureAwait(false) is { } found)
            {
                throw new Qcow2UnsupportedException(
                    UnsupportedReason.ExternalDataFile,
                    $"'{image.Name}': its raw data file '{dataFile!.Name}' has data at byte {found}, where the disk reads as zeros; "
                    + $"copy the disk to an image that can grow");
            }
        }

        EntryBytes.WriteData(bytes.Span, _geometry, clusterStart, new SubclusterBitmap(uint.MaxValue, 0));
        return true;
    }

    /// <summary>Reads the cluster up to the disk's end, and what is stored after it.</summary>
    /// <returns>The new subcluster bits.</returns>
    private async ValueTask<SubclusterBitmap> ReadAsync(
        L2Entry entry, SubclusterBitmap subclusters, long clusterStart, int kept, byte[] cluster, CancellationToken cancellationToken)
    {
        L2EntryKind kind = entry.Kind(image.Header);
        if (kind == L2EntryKind.Compressed)
        {
            CompressedDescriptor descriptor = entry.Compressed(_geometry.ClusterBits);
            using var unpacker = new ClusterUnpacker(_storage, image.Header);
            await unpacker.ReadAsync(
                clusterStart, (long)descriptor.HostOffset, descriptor.LengthBytes, cluster, cancellationToken).ConfigureAwait(false);
        }
        else if (kind == L2EntryKind.Normal)
        {
            await (dataFile ?? _storage).ReadZeroFilledAsync((long)entry.HostOffset, cluster, cancellationToken).ConfigureAwait(false);
        }
        else if (kind == L2EntryKind.Unallocated && !_geometry.HasExtendedL2 && image.Contents.First.BackingFile is not null)
        {
            await ReadBackingAsync(clusterStart, cluster.AsMemory(0, kept), cancellationToken).ConfigureAwait(false);
        }

        if (!_geometry.HasExtendedL2)
        {
            return default;
        }

        int size = _geometry.SubclusterSizeBytes;
        int last = kept / size;
        // Subclusters past the end read as zeros; the one that contains the end must hold its visible data.
        uint before = last == 0 ? 0 : uint.MaxValue >> (ImageGeometry.SubclustersPerCluster - last);
        bool isSplit = kept % size != 0;
        if (kind == L2EntryKind.Compressed)
        {
            return new SubclusterBitmap(before | (isSplit ? 1U << last : 0), isSplit ? ~(before | (1U << last)) : ~before);
        }

        uint split = isSplit ? 1U << last : 0;
        bool isSplitUnallocated = isSplit && ((subclusters.Allocated | subclusters.Zero) & split) == 0;
        if (isSplitUnallocated && hidesBacking)
        {
            await ReadBackingAsync(
                clusterStart + (last * size), cluster.AsMemory(last * size, kept % size), cancellationToken).ConfigureAwait(false);
            return new SubclusterBitmap((subclusters.Allocated & before) | split, (subclusters.Zero & before) | ~(before | split));
        }

        return new SubclusterBitmap(subclusters.Allocated & (before | split), (subclusters.Zero & (before | split)) | ~(before | split));
    }

    private ValueTask ReadBackingAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) => backing is not null
        ? backing.ReadFilledAsync(offset, buffer, cancellationToken)
        : throw new Qcow2UnsupportedException(
            UnsupportedReason.NoResolver,
            $"'{image.Name}': the disk ends inside a cluster that shows its backing image, which is not there to be read");

    private async ValueTask FreeAsync(L2Entry entry, L2EntryKind kind, CancellationToken cancellationToken)
    {
        if (kind == L2EntryKind.Compressed)
        {
            CompressedDescriptor descriptor = entry.Compressed(_geometry.ClusterBits);
            var clusters = ClusterRange.Of(_geometry, descriptor.HostOffset, descriptor.LengthBytes);
            await counts.AddAsync(clusters.First, clusters.Count, -1, cancellationToken).ConfigureAwait(false);
        }
        else if (entry.HostOffset != 0)
        {
            if (!_geometry.IsClusterAligned(entry.HostOffset))
            {
                throw new Qcow2FormatException(
                    Faults.OfHex(
                        FaultCode.L2EntryUnaligned, "L2 table", "entry", 0, entry.Raw,
                        $"an offset that is a multiple of {_geometry.ClusterSizeBytes}"),
                    image.Name);
            }

            await counts.AddAsync(_geometry.ClusterAt(entry.HostOffset), 1, -1, cancellationToken).ConfigureAwait(false);
        }
    }
}
