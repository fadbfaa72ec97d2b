using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>Searches for free clusters: in a large image, first near its end, then in the rest. The caller decides which clusters are
/// free.</summary>
/// <param name="storage">The image.</param>
/// <param name="geometry">Its cluster arithmetic.</param>
/// <param name="start">The cluster to start with.</param>
internal sealed class ClusterSearch(ImageStorage storage, ImageGeometry geometry, HostCluster start)
{
    private readonly HostCluster _end = ClusterSpace.EndOf(storage, geometry);
    private readonly HostCluster _start = start;
    // Clusters behind the start that have become free since the search came round.
    private readonly Stack<HostCluster> _passed = [];
    private bool _isAround;

    /// <summary>The next cluster to examine.</summary>
    public HostCluster Position { get; private set; } = start;

    /// <summary>Finds one cluster.</summary>
    /// <param name="isFree">Returns whether a cluster is free.</param>
    /// <param name="cancellationToken">Ends the search.</param>
    /// <exception cref="NoSpaceException">The storage cannot grow and has no room.</exception>
    public async ValueTask<HostCluster> FindOneAsync(
        Func<HostCluster, CancellationToken, ValueTask<bool?>> isFree, CancellationToken cancellationToken)
    {
        while (true)
        {
            if (Position >= _end && !_isAround && _start != default)
            {
                _isAround = true;
                Position = default;
            }

            HostCluster cluster;
            if (Position < (_isAround ? _start : _end))
            {
                cluster = Position++;
            }
            else if (!_passed.TryPop(out cluster))
            {
                throw ClusterSpace.OutOfClusters(1, geometry, storage);
            }

            if (await isFree(cluster, cancellationToken).ConfigureAwait(false) == true)
            {
                return cluster;
            }
        }
    }

    /// <summary>Finds contiguous clusters.</summary>
    /// <param name="clusters">How many.</param>
    /// <param name="from">The cluster to start with; those below it are searched last.</param>
    /// <param name="isFree">Returns whether a cluster is free, or null if the clusters found free so far must be examined again.</param>
    /// <param name="cancellationToken">Ends the search.</param>
    /// <returns>The first one's number.</returns>
    /// <exception cref="NoSpaceException">The storage cannot grow and has no room.</exception>
    public async ValueTask<HostCluster> FindRunAsync(
        long clusters, HostCluster from, Func<HostCluster, CancellationToken, ValueTask<bool?>> isFree, CancellationToken cancellationToken)
    {
        foreach (HostCluster begin in (HostCluster[])[from, default])
        {
            HostCluster first = begin;
            for (HostCluster cluster = begin; cluster < _end; cluster++)
            {
                bool? answer = await isFree(cluster, cancellationToken).ConfigureAwait(false);
                if (answer is null)
                {
                    cluster = first - 1;
                }
                else if (answer is false)
                {
                    first = cluster + 1;
                }
                else if (cluster - first + 1 == clusters)
                {
                    return first;
                }
            }
        }

        throw ClusterSpace.OutOfClusters(clusters, geometry, storage);
    }

    /// <summary>Makes the search find a cluster that became free, unless it lies in the part of a large image that is searched
    /// last.</summary>
    public void Include(HostCluster cluster)
    {
        if (cluster < Position && (cluster >= _start || _isAround))
        {
            Position = cluster;
        }
        else if (cluster >= _start && _isAround)
        {
            _passed.Push(cluster);
        }
    }

    /// <summary>Allows the search to pass its start again after it has wrapped around.</summary>
    public void Restart()
    {
        _isAround = false;
        _passed.Clear();
    }
}
