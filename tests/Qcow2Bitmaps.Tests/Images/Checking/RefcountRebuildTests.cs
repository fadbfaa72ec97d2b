using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Checking;

/// <summary>Where new counts go when broken entries refer to clusters behind the file's end.</summary>
public sealed class RefcountRebuildTests
{
    private const int ClusterBits = 12;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task NewCountsGoBetweenRangesInAnyOrder()
    {
        (MemoryStorage storage, long end) = Build();

        await RebuildAsync(storage, [(end + 20, end + 29), (end + 2, end + 9), (end, end + 5)], Token);

        byte[] after = storage.ToArray();
        long table = BinaryPrimitives.ReadInt64BigEndian(after.AsSpan(HeaderLayout.RefcountTableOffset));
        Assert.Equal(end + 10, table >> ClusterBits);
        Assert.Equal(end + 12, after.Length >> ClusterBits);
    }

    /// <summary>Cluster by cluster, this would take years.</summary>
    [Fact]
    public async Task RangesUpToTheLastPossibleClusterLeaveNoRoom()
    {
        const int Ranges = 50_000;
        (MemoryStorage storage, long end) = Build();
        byte[] before = storage.ToArray();
        long step = (1L << (56 - ClusterBits)) / Ranges;

        await Assert.ThrowsAsync<NoSpaceException>(
            () => RebuildAsync(
                storage, [.. Enumerable.Range(0, Ranges + 1).Reverse().Select(i => (end + (i * step), end + ((i + 2) * step)))], Token));

        Assert.Equal(before, storage.ToArray());
    }

    [Fact]
    public async Task AStoppedSearchWritesNothing()
    {
        (MemoryStorage storage, _) = Build();
        byte[] before = storage.ToArray();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => RebuildAsync(storage, [], new CancellationToken(canceled: true)));

        Assert.Equal(before, storage.ToArray());
    }

    private static (MemoryStorage Storage, long Clusters) Build()
    {
        byte[] bytes = new TestImage(ClusterBits).WithGuestData(3).Build();
        return (new MemoryStorage(bytes), bytes.Length >> ClusterBits);
    }

    private static async Task RebuildAsync(MemoryStorage storage, List<(long First, long Last)> behindEnd, CancellationToken token)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
        Qcow2Header header = image.Handle.Header;
        long clusters = storage.Length >> ClusterBits;
        var references = new ReferenceCounts(clusters + 1, ushort.MaxValue);
        references.AddRun(0, clusters, 1, out _);
        RefcountReader stored = await RefcountReader.OpenAsync(storage, header, Token);
        await new RefcountRebuild(storage, header, Qcow2Limits.Default, references, stored, behindEnd).RunAsync(token);
    }
}
