using System.Globalization;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// What operations on chains cost, counted in calls of the storages: it grows with the images and the bitmaps, not with their product.
/// </summary>
public sealed class ChainCostTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ACommitEditsEachImageOnceHoweverManyBitmapsItIsToGet()
    {
        // Flushes are what an edit costs on a disk.
        int[] one = await FlushesOfCommitAsync(images: 4, bitmaps: 1);
        int[] many = await FlushesOfCommitAsync(images: 4, bitmaps: 40);
        Assert.Equal(one, many);
    }

    [Theory]
    [InlineData(4, 4, true)]
    [InlineData(5, 4, false)]
    public async Task AChainHasNoMoreImagesThanAllowed(int images, int limit, bool isTaken)
    {
        CountedChain counted = await CountedChain.MakeAsync(images, 0);
        var options = new ChainOpenOptions { Image = new Qcow2OpenOptions { Limits = Qcow2Limits.Default with { MaxChainDepth = limit } } };
        if (isTaken)
        {
            await using ImageChain chain = await counted.OpenAsync(options);
            Assert.Equal(images, chain.Layers.Count);
            return;
        }

        Qcow2UnsupportedException refused = await Assert.ThrowsAsync<Qcow2UnsupportedException>(() => counted.OpenAsync(options));
        Assert.Equal(UnsupportedReason.ChainTooDeep, refused.Reason);
        Assert.Equal("The chain has more than 4 images", refused.Message);
    }

    [Fact]
    public async Task AnImageMoreCostsAsManyReadsWhereverItStands()
    {
        long[] reads = [await ReadsOfLookingAsync(10), await ReadsOfLookingAsync(20), await ReadsOfLookingAsync(40)];
        Assert.Equal(2 * (reads[1] - reads[0]), reads[2] - reads[1]);
    }

    private static async Task<int[]> FlushesOfCommitAsync(int images, int bitmaps)
    {
        CountedChain counted = await CountedChain.MakeAsync(images, bitmaps);
        await using ImageChain chain = await counted.OpenAsync(new ChainOpenOptions { WritableLayers = [.. Enumerable.Range(0, images)] });
        ChainResult result = await new ChainCommit(chain, 0, images - 1).RunAsync(cancellationToken: Token);
        Assert.Equal(bitmaps * (images - 2), result.Bitmaps.Count(static change => change.Kind == BitmapChangeKind.Added));
        Assert.Equal(bitmaps, chain.Layers[^1].RequireImage().Bitmaps.Count);
        return [.. counted.Storages.Select(static storage => storage.Flushes)];
    }

    private static async Task<long> ReadsOfLookingAsync(int images)
    {
        CountedChain counted = await CountedChain.MakeAsync(images, 1);
        await using ImageChain chain = await counted.OpenAsync(new ChainOpenOptions());
        await chain.JudgeBitmapsAsync(cancellationToken: Token);
        await foreach (DiskExtent extent in chain.MapAsync(cancellationToken: Token))
        {
            Assert.True(extent.LengthBytes > 0);
        }

        return counted.Storages.Sum(static storage => (long)storage.Reads.Count);
    }

    /// <summary>A chain in memory: bitmaps in the top image only, whose storages are counted.</summary>
    private sealed class CountedChain : IBackingResolver
    {
        private readonly List<MemoryStorage> _images = [];

        public List<CountingStorage> Storages { get; } = [];

        public static async Task<CountedChain> MakeAsync(int images, int bitmaps)
        {
            var made = new CountedChain();
            for (int i = 0; i < images; i++)
            {
                var storage = new MemoryStorage([], string.Create(CultureInfo.InvariantCulture, $"image{i}"));
                made._images.Add(storage);
                await Qcow2Image.CreateAsync(
                    storage,
                    new Qcow2CreateOptions
                    {
                        SizeBytes = 8 << 20,
                        ClusterSizeBytes = 4096,
                        BackingFile = i < images - 1 ? "below" : null,
                        BackingFormat = i < images - 1 ? "qcow2" : null,
                    },
                    Token);
            }

            await using Qcow2Image top = await Qcow2Image.OpenAsync(made._images[0], leaveOpen: true, cancellationToken: Token);
            await top.Bitmaps.EditAsync(
                edit =>
                {
                    for (int i = 0; i < bitmaps; i++)
                    {
                        edit.Add(string.Create(CultureInfo.InvariantCulture, $"b{i}"));
                    }
                },
                Token);
            return made;
        }

        public Task<ImageChain> OpenAsync(ChainOpenOptions options) =>
            ImageChain.OpenAsync(Count(0), options with { Resolver = this }, Token);

        public Task<ImageStorage> OpenAsync(
            BackingReference reference, ImageLock imageLock, CancellationToken cancellationToken = default) =>
            Task.FromResult<ImageStorage>(Count(reference.Depth));

        private CountingStorage Count(int index)
        {
            var storage = new CountingStorage(_images[index]);
            Storages.Add(storage);
            return storage;
        }
    }
}
