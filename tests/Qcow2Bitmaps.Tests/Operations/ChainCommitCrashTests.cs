using System.Globalization;
using FsCheck.Fluent;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// A commit that is stopped anywhere: the guest sees the same, what was valid is valid and covers what it covered, and run
/// again it ends as if it had not been stopped.
/// </summary>
public sealed class ChainCommitCrashTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void StoppedAnywhereItIsRunAgainAndEndsTheSame()
    {
        Qemu.Require();
        (int stops, int reruns) = (0, 0);
        Properties.ForAll(Gen.Choose(0, int.MaxValue), 12 * Properties.Factor, seed =>
        {
            (int Stops, int Reruns) done = StopAsync(seed).GetAwaiter().GetResult();
            (stops, reruns) = (stops + done.Stops, reruns + done.Reruns);
        });
        TestContext.Current.TestOutputHelper?.WriteLine(
            string.Create(CultureInfo.InvariantCulture, $"{stops} stops, {reruns} commits run again"));
        Assert.True(reruns > Properties.Factor && stops > reruns, $"{stops} stops, {reruns} commits run again");
    }

    /// <summary>
    /// A committed image that was longer than the one above it, and than the base: what was hidden of it counted as changed.
    /// </summary>
    [Theory]
    [InlineData(393257524)]
    public async Task WhatTheTopHidOfLongerImagesIsNotForgotten(int seed)
    {
        Qemu.Require();
        Assert.True((await StopAsync(seed)).Stops > 0);
    }

    private static async Task<(int Stops, int Reruns)> StopAsync(int seed)
    {
        using var folder = TempFolder.InMemory();
        var random = new SplitMix((ulong)seed);
        IReadOnlyList<string> paths = await new CommitChain(folder, random).MakeAsync(maxLayers: 5, maxClusterBits: 12, maxSectors: 200);
        string[] names = [.. paths.Select(static path => Path.GetFileName(path))];
        int top = random.Below(names.Length - 1);
        int target = top + 1 + random.Below(names.Length - top - 1);
        var model = new CommitModel([.. await Task.WhenAll(paths.Select(CommitLayer.ReadAsync))], top, target);
        if (model.IsRefused)
        {
            return (0, 0);
        }

        var start = new CrashChain(
            names.Zip(await Task.WhenAll(paths.Select(path => File.ReadAllBytesAsync(path, Token))))
                .ToDictionary(static pair => pair.First, static pair => pair.Second));
        ChainView before = await ChainView.ReadAsync(start, names[0]);
        int workers = random.Pick([1, 8]);
        await CommitAsync(start, names[0], top, target, workers);
        before.AssertKept(await ChainView.ReadAsync(start, names[0]), $"seed {seed}: {model}");
        ChainView end = await ChainView.ReadAsync(start, names[target]);
        int stops = 0;
        int reruns = 0;
        foreach ((Dictionary<string, byte[]> content, string description) in start.Stops((ulong)seed, samples: 3))
        {
            string context = $"seed {seed}, {description}: {model}";
            var stopped = new CrashChain(content);
            ChainView now = await ChainView.ReadAsync(stopped, names[0]);
            before.AssertKept(now, context);
            stops++;
            bool hasSwitched = top > 0 && now.Names[top] == names[target];
            if (!hasSwitched && stops % 4 == 0)
            {
                reruns++;
                await CommitAsync(stopped, names[0], top, target, workers);
                before.AssertKept(await ChainView.ReadAsync(stopped, names[0]), $"{context}, run again");
                hasSwitched = true;
            }

            if (hasSwitched)
            {
                ChainView again = await ChainView.ReadAsync(stopped, names[target]);
                end.AssertKept(again, $"{context}, run again, base");
                // Once the base has grown, what a shorter image between hides of it cannot be told from what it has
                // gained: then more is marked, as asserted above.
                bool isSame = model.TargetSectors > model.Layers[target].Sectors
                    ? end.StoredWithoutBits == again.StoredWithoutBits
                    : end.Stored == again.Stored;
                Assert.True(isSame, $"{context}: the base's bitmaps, not stopped:\n{end.Stored}\nstopped and run again:\n{again.Stored}");
            }
        }

        return (stops, reruns);
    }

    private static async Task CommitAsync(CrashChain images, string active, int top, int target, int workers)
    {
        await using ImageChain chain = await images.OpenForCommitAsync(active, top, target);
        await new ChainCommit(chain, top, target, new MergeOptions { Workers = workers }).RunAsync(cancellationToken: Token);
    }
}
