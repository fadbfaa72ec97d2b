using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Counting what the refcounts themselves use, and comparing them with what was counted.</summary>
internal sealed partial class ImageChecker
{
    private void CountRefcounts(StoredRefcounts stored)
    {
        CountRegion(_header.RefcountTableOffset, (long)_header.RefcountTableClusters << _geometry.ClusterBits);
        for (int i = 0; i < stored.Table.Length; i++)
        {
            RefcountTableEntry entry = stored.Table[i];
            long cluster = (long)_geometry.ClusterIndex(entry.BlockOffset);
            if (entry.Raw != 0 && entry.Check(_geometry.ClusterBits) == FaultCode.RefcountTableEntryReserved)
            {
                Corrupt($"ERROR refcount table entry {i} has reserved bits set");
            }
            else if (!_geometry.IsClusterAligned(entry.BlockOffset))
            {
                Corrupt($"ERROR refcount block {i} is not cluster aligned; refcount table entry corrupted");
            }
            else if (cluster >= _clusters)
            {
                Corrupt($"ERROR refcount block {i} is outside image");
            }
            else if (entry.BlockOffset != 0)
            {
                CountRegion(entry.BlockOffset, _geometry.ClusterSizeBytes);
                if (_references[cluster] != 1)
                {
                    Corrupt($"ERROR refcount block {i} refcount={_references[cluster]}");
                }
            }
        }
    }

    private async ValueTask CompareAsync(StoredRefcounts stored, CancellationToken cancellationToken)
    {
        long clusters = _references[_clusters] > 0 ? _clusters + 1 : _clusters;
        for (int chunk = 0; chunk < _references.ChunkCount; chunk++)
        {
            long first = (long)chunk << ReferenceCounts.ChunkShift;
            long end = Math.Min(first + (1L << ReferenceCounts.ChunkShift), clusters);
            if (_references.IsUnused(chunk) && !HasAnyBlock(stored, first, end))
            {
                continue;
            }

            cancellationToken.ThrowIfCancellationRequested();
            for (long cluster = first; cluster < end; cluster++)
            {
                uint reference = _references[cluster];
                if (await stored.ReadAsync(cluster, cancellationToken).ConfigureAwait(false) is not { } refcount)
                {
                    _checkErrors++;
                    Keep(CheckFindingKind.CheckError, $"Can't get refcount for cluster {cluster}: Input/output error");
                    continue;
                }

                if (refcount > 0 || reference > 0)
                {
                    _highestCluster = cluster;
                }

                if (refcount < reference)
                {
                    Corrupt($"ERROR cluster {cluster} refcount={refcount} reference={reference}");
                }
                else if (refcount > reference)
                {
                    _leaks++;
                    Keep(CheckFindingKind.Leak, $"Leaked cluster {cluster} refcount={refcount} reference={reference}");
                }
            }
        }
    }

    private static bool HasAnyBlock(StoredRefcounts stored, long firstCluster, long endCluster)
    {
        for (long block = stored.BlockOf(firstCluster); block <= stored.BlockOf(endCluster - 1); block++)
        {
            if (stored.HasBlock(block))
            {
                return true;
            }
        }

        return false;
    }

    private async ValueTask CheckCopiedFlagsAsync(StoredRefcounts stored, ulong[] activeL1, CancellationToken cancellationToken)
    {
        var checkedTables = new HashSet<long>();
        for (int l1Index = 0; l1Index < activeL1.Length; l1Index++)
        {
            var l1 = new L1Entry(activeL1[l1Index]);
            if (!l1.IsAllocated)
            {
                continue;
            }

            ulong? refcount = await stored.ReadAsync((long)_geometry.ClusterIndex(l1.L2TableOffset), cancellationToken).ConfigureAwait(false);
            if (refcount is not null && (refcount == 1) != l1.IsCopied)
            {
                Corrupt($"ERROR OFLAG_COPIED L2 cluster: l1_index={l1Index} l1_entry={l1.Raw:x} refcount={refcount}");
            }

            if (!_header.HasExternalDataFile && checkedTables.Add((long)l1.L2TableOffset))
            {
                await CheckCopiedFlagsOfL2Async(stored, l1.L2TableOffset, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private async ValueTask CheckCopiedFlagsOfL2Async(StoredRefcounts stored, ulong tableOffset, CancellationToken cancellationToken)
    {
        ulong[] table = await ReadTableAsync(tableOffset, (uint)(_geometry.ClusterSizeBytes / sizeof(ulong)), cancellationToken).ConfigureAwait(false);
        for (int i = 0; i < table.Length; i += _geometry.L2EntryBytes / sizeof(ulong))
        {
            var entry = new L2Entry(table[i]);
            if (entry.Kind(_header) is not (L2EntryKind.Normal or L2EntryKind.ZeroAllocated))
            {
                continue;
            }

            ulong? refcount = await stored.ReadAsync((long)_geometry.ClusterIndex(entry.HostOffset), cancellationToken).ConfigureAwait(false);
            if (refcount is not null && (refcount == 1) != entry.IsCopied)
            {
                Corrupt($"ERROR OFLAG_COPIED data cluster: l2_entry={entry.Raw:x} refcount={refcount}");
            }
        }
    }
}
