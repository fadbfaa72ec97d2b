using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Which clusters of an image have only one use, whatever their stored counts. For callers that will write or free what a bitmap
/// refers to.</summary>
internal sealed class ClusterUses
{
    private readonly ImageGeometry _geometry;
    private readonly ReferenceCounts? _uses;
    // In ascending order; the ends never decrease.
    private readonly List<(long First, long Last)> _uncounted;

    /// <summary>Uses the result of a check.</summary>
    /// <param name="geometry">The image's cluster arithmetic.</param>
    /// <param name="uses">How often each cluster is used; null if some uses are unknown.</param>
    /// <param name="uncounted">Clusters of structures that are not counted.</param>
    public ClusterUses(ImageGeometry geometry, ReferenceCounts? uses, List<(long First, long Last)> uncounted)
    {
        _geometry = geometry;
        _uses = uses;
        _uncounted = uncounted;
        _uncounted.Sort();
        for (int i = 1; i < _uncounted.Count; i++)
        {
            _uncounted[i] = (_uncounted[i].First, Math.Max(_uncounted[i].Last, _uncounted[i - 1].Last));
        }
    }

    /// <summary>Whether another structure uses a cluster of this one too, or may do so because not all uses could be counted.</summary>
    /// <param name="offset">Where the structure, or a part of it, starts, in bytes from the start of the file.</param>
    /// <param name="lengthBytes">Its length, at least 1.</param>
    public bool MayBeShared(ulong offset, long lengthBytes)
    {
        if (_uses is null || offset > Faults.MaxOffset - (ulong)lengthBytes)
        {
            return true;
        }

        long first = _geometry.ClusterAt(offset).Number;
        long last = _geometry.ClusterAt(offset + (ulong)lengthBytes - 1).Number;
        bool isShared = IsUncounted(first, last);
        for (long cluster = first; cluster <= last && !isShared; cluster++)
        {
            isShared = _uses[cluster] > 1;
        }

        return isShared;
    }

    private bool IsUncounted(long first, long last)
    {
        int low = 0;
        for (int high = _uncounted.Count; low < high;)
        {
            int middle = (low + high) / 2;
            (low, high) = _uncounted[middle].First <= last ? (middle + 1, high) : (low, middle);
        }

        return low > 0 && _uncounted[low - 1].Last >= first;
    }
}
