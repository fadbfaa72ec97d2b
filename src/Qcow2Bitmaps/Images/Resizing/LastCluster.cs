using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Guest;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Resizing;

/// <summary>Lets the cluster that a disk ends in read as zeros behind that end. Other states of the disk keep theirs: what changes is a copy.</summary>
internal sealed class LastCluster(Qcow2Image image, ShadowRefcounts counts, IBackingDisk? backing, ImageStorage? dataFile, bool hidesBacking)
{
    private readonly ImageStorage _storage = image.Storage;
    private readonly ImageGeometry _geometry = image.Geometry;

    /// <summary>Cuts the cluster.</summary>
    /// <param name="table">The L2 table that has the cluster's entry.</param>
    /// <param name="end">Where the disk ends, in bytes, inside the cluster.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <returns>Whether the entry has changed.</returns>
    public async ValueTask<bool> CutAsync(Memory<byte> table, long end, CancellationToken cancellationToken)
    {
        int entryBytes = _geometry.L2EntryBytes;
        Memory<byte> bytes = table.Slice(_geometry.L2Index(end) * entryBytes, entryBytes);
        var entry = new L2Entry(BinaryPrimitives.ReadUInt64BigEndian(bytes.Span));
        var subclusters = new SubclusterBitmap(_geometry.HasExtendedL2 ? BinaryPrimitives.ReadUInt64BigEndian(bytes.Span[sizeof(ulong)..]) : 0);
        long clusterStart = end & -_geometry.ClusterSizeBytes;
        int kept = (int)(end - clusterStart);
        L2EntryKind kind = entry.Kind(image.Header);
        bool isUnallocated = kind == L2EntryKind.Unallocated && subclusters.Raw == 0;
        if (kind is L2EntryKind.ZeroPlain or L2EntryKind.ZeroAllocated || (isUnallocated && !hidesBacking))
        {
            return false;
        }

        if (image.Header.CryptMethod != 0 && !isUnallocated)
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.Encryption, $"'{PrintableText.Escape(image.Name)}' is encrypted and its disk ends, or would end, inside a cluster that has data: what lies behind that end cannot be made zeros without the key");
        }

        var cluster = new byte[_geometry.ClusterSizeBytes];
        SubclusterBitmap now = await ReadAsync(entry, kind, subclusters, clusterStart, kept, cluster, cancellationToken).ConfigureAwait(false);
        bool isNew = isUnallocated || kind == L2EntryKind.Compressed || now.Allocated != subclusters.Allocated;
        if (!isNew && now == subclusters && !cluster.AsSpan(kept).ContainsAnyExcept((byte)0))
        {
            return false;
        }

        if (dataFile is not null && !isUnallocated)
        {
            // The file itself is cut there: it is nobody else's.
            if ((now.Allocated & ~subclusters.Allocated) != 0)
            {
                int from = kept / _geometry.SubclusterSizeBytes * _geometry.SubclusterSizeBytes;
                await dataFile.WriteAsync(clusterStart + from, cluster.AsMemory(from, kept - from), cancellationToken).ConfigureAwait(false);
                await dataFile.FlushAsync(cancellationToken).ConfigureAwait(false);
            }

            EntryBytes.WriteSubclusters(bytes.Span, _geometry, now);
            return now != subclusters;
        }

        cluster.AsSpan(kept).Clear();
        if (_geometry.HasExtendedL2 && now.Allocated == 0 && kind == L2EntryKind.Unallocated)
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
        long offset = await counts.AllocateAsync(cluster.Length, cancellationToken).ConfigureAwait(false);
        await _storage.WriteAsync(offset, cluster, cancellationToken).ConfigureAwait(false);
        EntryBytes.WriteData(bytes.Span, _geometry, offset, now);
        return true;
    }

    /// <summary>Reads the cluster up to the disk's end, and what is stored behind it.</summary>
    /// <returns>What the subclusters are to be.</returns>
    private async ValueTask<SubclusterBitmap> ReadAsync(
        L2Entry entry, L2EntryKind kind, SubclusterBitmap subclusters, long clusterStart, int kept, byte[] cluster, CancellationToken cancellationToken)
    {
        if (kind == L2EntryKind.Compressed)
        {
            CompressedDescriptor descriptor = entry.Compressed(_geometry.ClusterBits);
            await new ClusterUnpacker(_storage, image.Header).ReadAsync((long)descriptor.HostOffset, descriptor.LengthBytes, cluster, cancellationToken).ConfigureAwait(false);
        }
        else if (kind == L2EntryKind.Normal)
        {
            await (dataFile ?? _storage).ReadZeroFilledAsync((long)entry.HostOffset, cluster, cancellationToken).ConfigureAwait(false);
        }
        else if (!_geometry.HasExtendedL2)
        {
            await ReadBackingAsync(clusterStart, cluster.AsMemory(0, kept), cancellationToken).ConfigureAwait(false);
        }

        if (!_geometry.HasExtendedL2)
        {
            return default;
        }

        int size = _geometry.SubclusterSizeBytes;
        int last = kept / size;
        // Those behind the end read as zeros; the one that the end is in has to hold what it shows.
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
            await ReadBackingAsync(clusterStart + (last * size), cluster.AsMemory(last * size, kept % size), cancellationToken).ConfigureAwait(false);
            return new SubclusterBitmap((subclusters.Allocated & before) | split, (subclusters.Zero & before) | ~(before | split));
        }

        return new SubclusterBitmap(subclusters.Allocated & (before | split), (subclusters.Zero & (before | split)) | ~(before | split));
    }

    private ValueTask ReadBackingAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) => backing is not null
        ? backing.ReadAsync(offset, buffer, cancellationToken)
        : throw new Qcow2UnsupportedException(
            UnsupportedReason.NoResolver, $"'{PrintableText.Escape(image.Name)}': the disk ends inside a cluster that shows its backing image, which is not there to be read");

    private async ValueTask FreeAsync(L2Entry entry, L2EntryKind kind, CancellationToken cancellationToken)
    {
        if (kind == L2EntryKind.Compressed)
        {
            CompressedDescriptor descriptor = entry.Compressed(_geometry.ClusterBits);
            long first = (long)_geometry.ClusterIndex(descriptor.HostOffset);
            long last = (long)_geometry.ClusterIndex(descriptor.HostOffset + (ulong)descriptor.LengthBytes - 1);
            await counts.AddAsync(first, last - first + 1, -1, cancellationToken).ConfigureAwait(false);
        }
        else if (entry.HostOffset != 0)
        {
            if (!_geometry.IsClusterAligned(entry.HostOffset))
            {
                throw new Qcow2FormatException(
                    Faults.OfHex(FaultCode.L2EntryUnaligned, "L2 table", "entry", 0, entry.Raw, $"an offset that is a multiple of {_geometry.ClusterSizeBytes}"), image.Name);
            }

            await counts.AddAsync((long)_geometry.ClusterIndex(entry.HostOffset), 1, -1, cancellationToken).ConfigureAwait(false);
        }
    }
}
