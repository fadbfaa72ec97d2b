using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Refcounts;

/// <summary>The locations of an image's structures, so that no structure is overwritten or freed because of a wrong reference
/// count.</summary>
/// <remarks>
/// Contains everything that QEMU checks before it writes (header, refcount table and blocks, active L1 and L2 tables, snapshot table, L1
/// tables of snapshots, bitmap directory), and also bitmap tables and the encryption header. Guest data and bitmap data are protected by
/// their counts alone.
/// </remarks>
internal sealed class LiveMetadata
{
    private const string RefcountTable = "the refcount table";
    private const string RefcountBlock = "a refcount block";

    private readonly List<(ulong Start, ulong End, string What)> _ranges = [];
    private readonly ImageGeometry _geometry;
    private ulong[] _l2Tables = [];
    private bool _isSorted;

    private LiveMetadata(ImageGeometry geometry) => _geometry = geometry;

    /// <summary>Collects the structures of an image without its bitmaps.</summary>
    /// <exception cref="IOException">The storage failed.</exception>
    public static async ValueTask<LiveMetadata> ReadAsync(
        ImageStorage storage, ImageContents contents, ulong[] refcountTable, CancellationToken cancellationToken)
    {
        Qcow2Header header = contents.First.Header;
        var live = new LiveMetadata(header.Geometry);
        live.Add("the header", 0, header.ClusterSizeBytes);
        live.Add(RefcountTable, header.RefcountTableOffset, header.RefcountTableBytes);
        foreach (ulong raw in refcountTable)
        {
            live.Add(RefcountBlock, new RefcountTableEntry(raw).BlockOffset, raw == 0 ? 0 : header.ClusterSizeBytes);
        }

        live.Add("the active L1 table", header.L1TableOffset, header.L1TableBytes);
        live.Add("the snapshot table", header.SnapshotsOffset, contents.Snapshots.LengthBytes);
        foreach (SnapshotInfo snapshot in contents.Snapshots.Snapshots)
        {
            live.Add("the L1 table of a snapshot", snapshot.L1TableOffset, snapshot.L1TableBytes);
        }

        if (contents.First.CryptoHeader is { } pointer)
        {
            live.Add("the encryption header", pointer.Offset, (long)Math.Min(pointer.Length, Faults.MaxOffset));
        }

        ulong[] l1 = await BigEndianTable.ReadAsync(storage, header.L1TableOffset, header.L1Size, cancellationToken).ConfigureAwait(false);
        live._l2Tables = [.. l1.Select(static raw => new L1Entry(raw).L2TableOffset).Where(static offset => offset != 0)];
        Array.Sort(live._l2Tables);
        return live;
    }

    /// <summary>Throws if refcount structures, which are written in place, share bytes with another structure or with one
    /// another.</summary>
    /// <exception cref="Qcow2FormatException">They do.</exception>
    public void RequireRefcountsApart(string imageName)
    {
        _ranges.Sort(static (a, b) => a.Start.CompareTo(b.Start));
        (ulong Start, ulong End, string What) widest = default;
        (ulong Start, ulong End, string What) widestRefcounts = default;
        foreach ((ulong Start, ulong End, string What) range in _ranges)
        {
            bool isRefcounts = range.What is RefcountTable or RefcountBlock;
            (ulong Start, ulong End, string What) other = isRefcounts ? widest : widestRefcounts;
            string? what = range.Start < other.End ? other.What : isRefcounts ? FindL2(range.Start, range.End) : null;
            if (what is not null)
            {
                throw new Qcow2FormatException(
                    Faults.OfHex(
                        FaultCode.RefcountTooLow, range.What, "offset", range.Start, range.Start,
                        $"one apart from {what}").Repairable,
                    imageName);
            }

            widest = range.End > widest.End ? range : widest;
            widestRefcounts = isRefcounts && range.End > widestRefcounts.End ? range : widestRefcounts;
        }
    }

    /// <summary>A copy to which other structures can be added.</summary>
    public LiveMetadata Copy()
    {
        var copy = new LiveMetadata(_geometry) { _l2Tables = _l2Tables };
        copy._ranges.AddRange(_ranges);
        return copy;
    }

    /// <summary>Adds the structures of an image's bitmaps.</summary>
    public LiveMetadata AddBitmapsOf(ImageContents contents)
    {
        if (contents.First.Bitmaps is { } extension)
        {
            Add("the bitmap directory", extension.DirectoryOffset, contents.Bitmaps.ReachedBytes);
        }

        foreach (BitmapInfo bitmap in contents.Bitmaps.Bitmaps)
        {
            Add("the table of a bitmap", bitmap.TableOffset, bitmap.TableBytes);
        }

        return this;
    }

    /// <summary>Adds a structure; invalid ranges are cut at the largest offset.</summary>
    public void Add(string what, ulong offset, long bytes)
    {
        if (bytes > 0)
        {
            _ranges.Add((offset, offset + Math.Min((ulong)bytes, ulong.MaxValue - offset), what));
            _isSorted = false;
        }
    }

    /// <summary>Removes the structure that starts at an offset: it is about to be replaced.</summary>
    public void Remove(ulong offset) => _ranges.RemoveAll(range => range.Start == offset);

    /// <summary>Follows a refcount table that has moved: its old place is free.</summary>
    public void MoveRefcountTable(Qcow2Header old, Qcow2Header now)
    {
        Remove(old.RefcountTableOffset);
        Add(RefcountTable, now.RefcountTableOffset, now.RefcountTableBytes);
    }

    /// <summary>Adds a refcount block.</summary>
    public void AddRefcountBlock(HostOffset offset) => Add(RefcountBlock, offset.Raw, _geometry.ClusterSizeBytes);

    /// <summary>Finds a structure that overlaps a cluster.</summary>
    /// <returns>Its name; null when none does.</returns>
    public string? Find(HostCluster cluster) =>
        FindBesideL2(cluster) ?? FindL2(_geometry.OffsetOf(cluster).Raw, _geometry.OffsetOf(cluster + 1).Raw);

    /// <summary>As <see cref="Find"/>, without the active L2 tables.</summary>
    public string? FindBesideL2(HostCluster cluster)
    {
        ulong start = _geometry.OffsetOf(cluster).Raw;
        ulong end = _geometry.OffsetOf(cluster + 1).Raw;
        if (!_isSorted)
        {
            SortAndClose();
        }

        // Finds the last range that starts before the cluster's end. Ends ascend like starts, as each range reaches at least as far as
        // earlier ones.
        int low = 0;
        for (int high = _ranges.Count; low < high;)
        {
            int middle = (low + high) / 2;
            (low, high) = _ranges[middle].Start < end ? (middle + 1, high) : (low, middle);
        }

        return low > 0 && _ranges[low - 1].End > start ? _ranges[low - 1].What : null;
    }

    private string? FindL2(ulong start, ulong end)
    {
        int l2 = Array.BinarySearch(_l2Tables, start);
        l2 = l2 < 0 ? ~l2 : l2;
        return (l2 < _l2Tables.Length && _l2Tables[l2] < end) || (l2 > 0 && _l2Tables[l2 - 1] + (1UL << _geometry.ClusterBits) > start)
            ? "an active L2 table"
            : null;
    }

    /// <summary>Sorts the ranges, and extends each one to the farthest end before it, so that one lookup finds what covers an
    /// offset.</summary>
    private void SortAndClose()
    {
        _ranges.Sort(static (a, b) => a.Start.CompareTo(b.Start));
        for (int i = 1; i < _ranges.Count; i++)
        {
            if (_ranges[i - 1].End > _ranges[i].End)
            {
                _ranges[i] = (_ranges[i].Start, _ranges[i - 1].End, _ranges[i - 1].What);
            }
        }

        _isSorted = true;
    }
}
