using System.Globalization;
using FsCheck.Fluent;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>What is measured before an operation is what its target has afterwards, to the byte.</summary>
public sealed class ChainMeasurementTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void ACommitTakesWhatWasMeasured()
    {
        Qemu.Require();
        int grown = 0;
        Properties.ForAll(
            Gen.Choose(0, int.MaxValue), 12 * Properties.Factor, seed => grown += CommitAsync(seed).GetAwaiter().GetResult() ? 1 : 0);
        Assert.True(grown > 0, "No base has grown");
    }

    /// <summary>A base with holes in the middle of its clusters: what was measured was more than what was copied.</summary>
    [Theory]
    [InlineData(1334795381)]
    public async Task ACommitTakesWhatWasMeasuredAsItDidNotBefore(int seed)
    {
        Qemu.Require();
        await CommitAsync(seed);
    }

    [Fact]
    public void AFlattenedImageASnapshotAndAPullTakeWhatWasMeasured()
    {
        Qemu.Require();
        Properties.ForAll(Gen.Choose(0, int.MaxValue), 8 * Properties.Factor, seed => FlattenAsync(seed).GetAwaiter().GetResult());
    }

    /// <summary>A chain whose base may be raw or have free clusters inside, and with data that are zeros.</summary>
    private static async Task<IReadOnlyList<string>> MakeAsync(TempFolder folder, SplitMix random)
    {
        string[] paths = [
            .. await new CommitChain(folder, random).MakeAsync(maxLayers: 5, maxClusterBits: 16, maxSectors: random.Pick([1024, 16384]))];
        if (random.Below(4) == 0)
        {
            string raw = folder.File("base.raw");
            await Qemu.ImgOkAsync("convert", "-O", "raw", paths[^1], raw);
            await Qemu.ImgOkAsync("rebase", "-u", "-b", "base.raw", "-F", "raw", paths[^2]);
            paths[^1] = raw;
        }
        else if (random.Below(2) == 0)
        {
            await Qemu.IoOkAsync(paths[^1], "write -P 9 0 96k", "discard 16k 32k", "discard 64k 16k");
        }

        if (random.Below(2) == 0)
        {
            await Qemu.IoOkAsync(
                paths[random.Below(paths.Length - 1)],
                $"write -P 0 {(random.Below(64) * 1024).ToString(CultureInfo.InvariantCulture)} 48k");
        }

        return paths;
    }

    private static async Task<bool> CommitAsync(int seed)
    {
        using var folder = TempFolder.InMemory();
        var random = new SplitMix((ulong)seed);
        IReadOnlyList<string> paths = await MakeAsync(folder, random);
        int top = random.Below(paths.Count - 1);
        int target = random.Below(2) == 0 ? paths.Count - 1 : top + 1 + random.Below(paths.Count - top - 1);
        var options = new MergeOptions { DropBitmaps = true };
        ChainMeasurement? exact = null;
        ChainMeasurement? bound = null;
        byte[][] before = await Task.WhenAll(paths.Select(path => File.ReadAllBytesAsync(path, Token)));
        await using (ImageChain look = await ImageChain.OpenAsync(paths[0], cancellationToken: Token))
        {
            try
            {
                exact = await new ChainCommit(look, top, target, options).MeasureAsync(cancellationToken: Token);
                bound = await new ChainCommit(look, top, target, options).MeasureAsync(readsData: false, Token);
            }
            catch (BitmapStateException)
            {
                // The commit is refused too, once the images are not open here any more.
            }
        }

        if (exact is null || bound is null)
        {
            await Assert.ThrowsAsync<BitmapStateException>(() => CommitAsync(paths, top, target, options));
            return false;
        }

        byte[][] after = await Task.WhenAll(paths.Select(path => File.ReadAllBytesAsync(path, Token)));
        Assert.Equal(before, after);

        ChainResult result = await CommitAsync(paths, top, target, options);

        string context = $"seed {seed}: {top} to {target} of {paths.Count}";
        Assert.True(
            exact.IsExact && !bound.IsExact && bound.Target.RequiredBytes >= exact.Target.RequiredBytes,
            $"{context}: {bound.Target} is less than {exact.Target}");
        Assert.True(exact.Target.CurrentBytes == before[target].Length, $"{context}: {exact.Target}, it had {before[target].Length}");
        foreach (ImageRoom room in exact.Images.Append(exact.Target))
        {
            long length = await WholeLengthAsync(room.Image);
            Assert.True(room.RequiredBytes == length, $"{context}: {room}, it has {length}");
        }

        Assert.Equal(result.Bitmaps, exact.Forecast.Bitmaps);
        Assert.Equal(result.CopiedBytes, exact.Forecast.CopiedBytes);
        Assert.Equal(result.RebasedImage, exact.Forecast.RebasedImage);
        return exact.Target.AdditionalBytes > 0;
    }

    private static async Task FlattenAsync(int seed)
    {
        using var folder = TempFolder.InMemory();
        var random = new SplitMix((ulong)seed);
        IReadOnlyList<string> paths = await MakeAsync(folder, random);
        string flat = folder.File("flat.qcow2");
        string overlay = folder.File("overlay.qcow2");
        await using (ImageChain chain = await ImageChain.OpenAsync(paths[0], cancellationToken: Token))
        {
            var flatten = new ChainFlatten(chain, flat);
            ChainMeasurement exact = await flatten.MeasureAsync(cancellationToken: Token);
            ChainMeasurement bound = await flatten.MeasureAsync(readsData: false, Token);
            ChainResult result = await flatten.RunAsync(cancellationToken: Token);
            long length = await WholeLengthAsync(flat);
            Assert.True(exact.Target.RequiredBytes == length, $"seed {seed}: {exact.Target}, it has {length}");
            Assert.True(
                bound.Target.RequiredBytes >= length && exact.FullyAllocatedBytes >= bound.Target.RequiredBytes,
                $"seed {seed}: {length}, {bound.Target}, {exact.FullyAllocatedBytes}");
            Assert.Equal(result.CopiedBytes, exact.Forecast.CopiedBytes);
            Assert.Equal(
                result.Bitmaps.Select(static change => (change.Name, change.Kind)),
                exact.Forecast.Bitmaps.Select(static change => (change.Name, change.Kind)));

            ChainMeasurement snapshot = await new ChainSnapshot(chain, overlay).MeasureAsync(cancellationToken: Token);
            await new ChainSnapshot(chain, overlay).RunAsync(cancellationToken: Token);
            await using var made = FileStorage.Open(overlay);
            Assert.True(snapshot.Target.RequiredBytes == made.Length, $"seed {seed}: {snapshot.Target}, it has {made.Length}");
        }

        int? @base = random.Below(2) == 0 ? null : 1 + random.Below(paths.Count - 1);
        ChainMeasurement pull;
        ChainMeasurement pullBound;
        await using (ImageChain pulled = await ImageChain.OpenAsync(paths[0], new ChainOpenOptions { WritableLayers = [0] }, Token))
        {
            var operation = new ChainRebase(pulled, 0, @base);
            pull = await operation.MeasureAsync(cancellationToken: Token);
            pullBound = await operation.MeasureAsync(readsData: false, Token);
            await operation.RunAsync(cancellationToken: Token);
        }

        long now = await WholeLengthAsync(paths[0]);
        Assert.True(
            pull.Target.RequiredBytes == now && pullBound.Target.RequiredBytes >= now,
            $"seed {seed}: {pull.Target}, it has {now}; {pullBound.Target}");
    }

    private static async Task<ChainResult> CommitAsync(IReadOnlyList<string> paths, int top, int target, MergeOptions options)
    {
        await using ChainCommit commit = await ChainCommit.OpenAsync(
            paths[0], options with { TopPath = paths[top], BasePath = paths[target] }, cancellationToken: Token);
        return await commit.RunAsync(cancellationToken: Token);
    }

    /// <summary>A file's length, up to whole clusters of a qcow2 image.</summary>
    private static async Task<long> WholeLengthAsync(string path)
    {
        await using var file = FileStorage.Open(path);
        long length = file.Length;
        if (path.EndsWith(".raw", StringComparison.Ordinal))
        {
            return length;
        }

        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        return (length + image.ClusterSizeBytes - 1) / image.ClusterSizeBytes * image.ClusterSizeBytes;
    }
}
