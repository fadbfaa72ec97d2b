using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Refcounts;

namespace Qcow2Bitmaps.Images.Guest.Writing;

/// <summary>Compressed clusters: they are stored one after another, and several share a cluster of the file.</summary>
internal sealed partial class GuestMetadata
{
    private const int SectorBytes = 512;

    // Where the last compressed cluster ends, in bytes; 0 if the next one cannot follow it.
    private long _packedEnd;

    /// <summary>Whether clusters can be written compressed.</summary>
    public bool CanPack => dataFile is null && Header.CompressionType == CompressionType.Zlib;

    /// <summary>Allocates room for a compressed cluster.</summary>
    /// <param name="guestOffset">The cluster on the disk.</param>
    /// <param name="lengthBytes">The compressed length, less than a cluster.</param>
    /// <param name="cancellationToken">Ends the planning.</param>
    /// <returns>The offset for the compressed bytes.</returns>
    /// <exception cref="NoSpaceException">There is no space; nothing was changed.</exception>
    /// <exception cref="Qcow2FormatException">An entry is invalid.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask<long> PlanPackedAsync(long guestOffset, int lengthBytes, CancellationToken cancellationToken)
    {
        await OpenAsync(cancellationToken).ConfigureAwait(false);
        long l1Index = Geometry.L1Index(guestOffset);
        ClusterEntry old = EntryOf(await Tables.ReadAsync(l1Index, cancellationToken).ConfigureAwait(false), guestOffset);
        Tables.RequireSane(old.Entry, old.Subclusters, guestOffset);
        await OwnTableAsync(l1Index, cancellationToken).ConfigureAwait(false);
        long offset = await AllocatePackedAsync(lengthBytes, cancellationToken).ConfigureAwait(false);
        _packedEnd = offset + lengthBytes;
        return offset;
    }

    /// <summary>Makes the L2 table refer to the written data.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public async ValueTask ApplyPackedAsync(long guestOffset, long hostOffset, int lengthBytes)
    {
        EditedL2Table table = await Tables.EditAsync(Geometry.L1Index(guestOffset), null, CancellationToken.None).ConfigureAwait(false);
        ClusterEntry old = EntryOf(table.Entries, guestOffset);
        int additional = (int)(((hostOffset + lengthBytes - 1) / SectorBytes) - (hostOffset / SectorBytes));
        var descriptor = new CompressedDescriptor((ulong)hostOffset, additional);
        var packed = new ClusterEntry(L2Entry.CreateCompressed(descriptor, Geometry.ClusterBits), default);
        Set(table, guestOffset, packed);
        Free(old, packed);
        disk.Forget();
        await LimitMemoryAsync().ConfigureAwait(false);
    }

    /// <summary>Frees what was allocated for a compressed cluster that was not written after all.</summary>
    public async ValueTask AbandonPackedAsync(long hostOffset, int lengthBytes)
    {
        _packedEnd = 0;
        var clusters = ClusterRange.Of(Geometry, new HostOffset(hostOffset).Raw, lengthBytes);
        for (HostCluster cluster = clusters.First; cluster < clusters.End; cluster++)
        {
            await _refcounts!.GiveBackAsync(cluster, CancellationToken.None).ConfigureAwait(false);
        }
    }

    private async ValueTask<long> AllocatePackedAsync(int lengthBytes, CancellationToken cancellationToken)
    {
        long room = -_packedEnd & (Geometry.ClusterSizeBytes - 1);
        HostCluster started = Geometry.ClusterAt(new HostOffset(_packedEnd));
        ulong count = room > 0 ? await _refcounts!.ReadAsync(started, cancellationToken).ConfigureAwait(false) : 0;
        // A cluster may have as many owners as its count can represent.
        bool isUsable = count > 0 && count < MaxCount;
        if (isUsable && lengthBytes <= room)
        {
            long end = _packedEnd;
            await _refcounts!.SetAsync(started, count + 1, cancellationToken).ConfigureAwait(false);
            return end;
        }

        HostCluster next = await AllocateAsync(cancellationToken).ConfigureAwait(false);
        if (isUsable && next == started + 1 && await _refcounts!.ReadAsync(started, cancellationToken).ConfigureAwait(false) == count)
        {
            await _refcounts!.SetAsync(started, count + 1, cancellationToken).ConfigureAwait(false);
            return _packedEnd;
        }

        return Geometry.OffsetOf(next).Bytes;
    }

    /// <summary>Continues at another offset if the last compressed clusters were freed: their place may have been reused.</summary>
    private async ValueTask ForgetFreedPackedEndAsync()
    {
        HostCluster last = Geometry.ClusterAt(new HostOffset(_packedEnd - 1));
        if (_packedEnd > 0 && await _refcounts!.ReadAsync(last, CancellationToken.None).ConfigureAwait(false) == 0)
        {
            _packedEnd = 0;
        }
    }

    private ulong MaxCount => Geometry.RefcountBits == 64 ? ulong.MaxValue : (1UL << Geometry.RefcountBits) - 1;
}
