using System.Diagnostics;

namespace Qcow2Bitmaps.Images.Creation;

/// <summary>Allocates the clusters of a new file consecutively, without gaps, with refcount blocks where QEMU places them.</summary>
/// <remarks>
/// A refcount block that a cluster needs follows right after the current allocation. If that position itself needs another block, that one
/// follows it.
/// </remarks>
internal sealed class ClusterAllocation(long countsPerBlock, long maxBlocks)
{
    private readonly List<long> _blocks = [];

    /// <summary>The number of clusters in use: all below it are.</summary>
    public long End { get; private set; }

    /// <summary>Whether the counts need more blocks than a refcount table may have; nothing is right any more then.</summary>
    public bool IsFull { get; private set; }

    /// <summary>The cluster of each refcount block.</summary>
    public IReadOnlyList<long> Blocks => _blocks;

    /// <summary>Allocates contiguous clusters.</summary>
    /// <returns>The first one.</returns>
    public long Allocate(long count)
    {
        long first = End;
        End += count;
        for (long block = first / countsPerBlock; block <= (End - 1) / countsPerBlock && !IsFull; block++)
        {
            if (IsMissing(block))
            {
                Place(block);
            }
        }

        return first;
    }

    private bool IsMissing(long block) => block >= _blocks.Count || _blocks[(int)block] == 0;

    private void Place(long block)
    {
        if (block >= maxBlocks)
        {
            IsFull = true;
            return;
        }

        long cluster = End++;
        long owner = cluster / countsPerBlock;
        if (owner != block && IsMissing(owner))
        {
            Place(owner);
        }

        while (_blocks.Count <= block)
        {
            _blocks.Add(0);
        }

        Debug.Assert(_blocks[(int)block] == 0, "A block is placed once");
        _blocks[(int)block] = cluster;
    }
}
