using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>Looks for free clusters: from where a large image ends on, then in the rest of it. What is free decides who asks.</summary>
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

    /// <summary>The cluster that is looked at next.</summary>
    public HostCluster Position { get; private set; } = start;

    /// <summary>Finds one cluster.</summary>
    /// <param name="isFree">Says whether a cluster is free.</param>
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

    /// <summary>Finds clusters that follow one another.</summary>
    /// <param name="clusters">How many.</param>
    /// <param name="from">The cluster to start with, before all those below it.</param>
    /// <param name="isFree">Says whether a cluster is free; null where all that seemed free so far is to be looked at again.</param>
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

    /// <summary>Sees a cluster that has become free, unless that lies in the part of a large image that is looked through last.</summary>
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

    /// <summary>Looks again behind the start, when it has come to the end.</summary>
    public void Restart()
    {
        _isAround = false;
        _passed.Clear();
    }
}
