using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Refcounts;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Counts the clusters of the refcount structures, and compares stored counts with counted uses.</summary>
internal sealed partial class ImageChecker
{
    private const int WordClusters = 1 << ReferenceCounts.WordShift;

    // The stored counts of a page of clusters that are each used once.
    private readonly byte[] _onceStored = new byte[ReferenceCounts.PageClusters * sizeof(ulong)];

    // Whether counts cannot be repaired in place: the structure is broken, or a count of 0 would have to rise.
    private bool _mustRebuild;
    private bool _isRepairing;

    private void CountRefcounts(RefcountReader stored)
    {
        CountRegion(_header.RefcountTableOffset, _header.RefcountTableBytes);
        for (int i = 0; i < stored.Table.Length; i++)
        {
            var entry = new RefcountTableEntry(stored.Table[i]);
            long cluster = _geometry.ClusterAt(entry.BlockOffset).Number;
            if (entry.Raw != 0 && entry.Check(_geometry.ClusterBits) == FaultCode.RefcountTableEntryReserved)
            {
                _log.Corrupt($"ERROR refcount table entry {i} has reserved bits set");
                _mustRebuild = true;
            }
            else if (!_geometry.IsClusterAligned(entry.BlockOffset))
            {
                _log.Corrupt($"ERROR refcount block {i} is not cluster aligned; refcount table entry corrupted");
                _mustRebuild = true;
            }
            else if (cluster >= _clusters)
            {
                // Counts can still be lowered. QEMU extends the file until it contains the block.
                _log.Corrupt($"ERROR refcount block {i} is outside image");
                _mustRebuild |= _repair.HasFlag(RepairKinds.Corruptions);
            }
            else if (entry.BlockOffset != 0)
            {
                CountRegion(entry.BlockOffset, _geometry.ClusterSizeBytes);
                if (_references[cluster] != 1)
                {
                    _log.Corrupt($"ERROR refcount block {i} refcount={_references[cluster]}");
                    _mustRebuild = true;
                }
            }
        }
    }

    private async ValueTask CompareAsync(RefcountReader stored, bool isRepairing, CancellationToken cancellationToken)
    {
        _isRepairing = isRepairing;
        for (int i = 0; i < ReferenceCounts.PageClusters; i++)
        {
            RefcountBlock.Write(_onceStored, i, _geometry.RefcountOrder, 1);
        }

        long clusters = _references[_clusters] > 0 ? _clusters + 1 : _clusters;
        for (long first = 0, block = 0; first < clusters; first += _geometry.RefcountsPerBlock, block++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            long end = Math.Min(first + _geometry.RefcountsPerBlock, clusters);
            if (!stored.HasBlock(block))
            {
                CompareWithNone(first, end);
            }
            else if (!stored.IsReadable(block))
            {
                for (long cluster = first; cluster < end; cluster++)
                {
                    _log.Fail($"Can't get refcount for cluster {cluster}: Input/output error");
                }
            }
            else
            {
                CompareWithBlock((await stored.ReadBlockAsync(block, cancellationToken).ConfigureAwait(false)).Span, first, end);
            }
        }
    }

    /// <summary>All stored counts are zero.</summary>
    private void CompareWithNone(long first, long end)
    {
        long endPage = ((end - 1) >> ReferenceCounts.PageShift) + 1;
        for (long page = first >> ReferenceCounts.PageShift; (page = _references.NextUsedPage(page, endPage)) < endPage; page++)
        {
            long pageStart = page << ReferenceCounts.PageShift;
            ReadOnlySpan<ulong> words = _references.NarrowWords(page);
            for (int i = 0; i < ReferenceCounts.PageClusters / WordClusters; i++)
            {
                long start = Math.Max(first, pageStart + (i * WordClusters));
                long wordEnd = Math.Min(end, pageStart + ((i + 1) * WordClusters));
                for (long cluster = words.IsEmpty || words[i] != 0 ? start : wordEnd; cluster < wordEnd; cluster++)
                {
                    Compare(cluster, 0);
                }
            }
        }
    }

    private void CompareWithBlock(ReadOnlySpan<byte> block, long first, long end)
    {
        for (long start = first, next; start < end; start = next)
        {
            next = Math.Min(end, (start | (ReferenceCounts.PageClusters - 1)) + 1);
            ReadOnlySpan<byte> counts = block[BytesOf(start - first)..BytesOf(next - first)];
            long page = start >> ReferenceCounts.PageShift;
            if (_references.IsUnused(page))
            {
                if (counts.ContainsAnyExcept((byte)0))
                {
                    CompareEach(counts, start, next);
                }

                continue;
            }

            ReadOnlySpan<ulong> words = _references.NarrowWords(page);
            if (words.IsEmpty)
            {
                CompareEach(counts, start, next);
                continue;
            }

            words = words[((int)(start & (ReferenceCounts.PageClusters - 1)) >> ReferenceCounts.WordShift)..];
            CompareWords(words, counts, start, next);
        }
    }

    private void CompareWords(ReadOnlySpan<ulong> words, ReadOnlySpan<byte> counts, long start, long end)
    {
        for (int i = 0; start < end; i++, start += WordClusters)
        {
            long next = Math.Min(end, start + WordClusters);
            ReadOnlySpan<byte> ofWord = counts[BytesOf((long)i * WordClusters)..Math.Min(counts.Length, BytesOf((i + 1L) * WordClusters))];
            if (words[i] == ReferenceCounts.AllOnce && ofWord.SequenceEqual(_onceStored.AsSpan(0, BytesOf(WordClusters))))
            {
                _highestCluster = next - 1;
            }
            else if (words[i] != 0 || ofWord.ContainsAnyExcept((byte)0))
            {
                CompareEach(ofWord, start, next);
            }
        }
    }

    /// <summary>Rounded up: the last counts of a file may end inside a byte.</summary>
    private int BytesOf(long counts) => (int)(((counts << _geometry.RefcountOrder) + 7) >> 3);

    private void CompareEach(ReadOnlySpan<byte> counts, long start, long end)
    {
        for (long cluster = start; cluster < end; cluster++)
        {
            Compare(cluster, RefcountBlock.Read(counts, (int)(cluster - start), _geometry.RefcountOrder));
        }
    }

    private void Compare(long cluster, ulong refcount)
    {
        uint reference = _references[cluster];
        if (refcount > 0 || reference > 0)
        {
            _highestCluster = cluster;
        }

        _hasShared |= reference > 1;
        if (refcount == reference)
        {
            return;
        }

        _mustRebuild |= refcount == 0;
        if (refcount < reference)
        {
            if (_isRepairing && _repair.HasFlag(RepairKinds.Corruptions))
            {
                _log.FixCorruption($"Repairing cluster {cluster} refcount={refcount} reference={reference}");
                return;
            }

            _log.Corrupt($"ERROR cluster {cluster} refcount={refcount} reference={reference}");
        }
        else
        {
            if (_isRepairing && CanLower)
            {
                _log.FixLeak($"Repairing cluster {cluster} refcount={refcount} reference={reference}");
                return;
            }

            _log.Leak($"Leaked cluster {cluster} refcount={refcount} reference={reference}");
        }

        // The first check before a repair still needs the counts of uses.
        if (_repair == RepairKinds.None || _isRepairing)
        {
            if (reference > 0)
            {
                _references.Set(cluster, (uint)Math.Min(refcount, uint.MaxValue));
            }
        }
    }
}
