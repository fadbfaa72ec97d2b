using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images;

/// <summary>The search for free clusters of a storage that cannot grow: it is full only when nothing is free.</summary>
public sealed class ClusterSearchTests
{
    private const int Clusters = 16;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>A cluster becomes free when all are taken, wherever the search stands.</summary>
    [Theory]
    [InlineData(0, 3)]
    [InlineData(8, 3)]
    [InlineData(8, 8)]
    [InlineData(8, 12)]
    [InlineData(8, 15)]
    public async Task WhatBecomesFreeIsFound(int start, int given)
    {
        TestImage image = new(12);
        await using var storage = new FixedSizeStorage(new MemoryStorage(new byte[Clusters << 12]));
        var taken = new HashSet<long>();
        var search = new ClusterSearch(storage, image.Geometry, new HostCluster(start));
        for (int i = 0; i < Clusters; i++)
        {
            await TakeAsync();
        }

        await Assert.ThrowsAsync<NoSpaceException>(TakeAsync);
        for (int i = 0; i < 3; i++)
        {
            taken.Remove(given);
            search.Include(new HostCluster(given));
            Assert.Equal(given, await TakeAsync());
            await Assert.ThrowsAsync<NoSpaceException>(TakeAsync);
        }

        async Task<long> TakeAsync()
        {
            HostCluster cluster = await search.FindOneAsync(
                (cluster, _) => ValueTask.FromResult<bool?>(!taken.Contains(cluster.Number)), Token);
            Assert.True(taken.Add(cluster.Number));
            return cluster.Number;
        }
    }
}
