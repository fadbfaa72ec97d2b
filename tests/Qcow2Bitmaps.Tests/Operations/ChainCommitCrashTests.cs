using System.Globalization;
using FsCheck.Fluent;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Images.Checking;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>A commit that is stopped anywhere: the guest sees the same, what was valid is valid and covers what it covered, and run again it ends as if it had not been stopped.</summary>
public sealed class ChainCommitCrashTests
{
    private const int SectorBytes = 512;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private static int Factor => int.TryParse(Environment.GetEnvironmentVariable("QCOW2BITMAPS_SEQUENCES"), CultureInfo.InvariantCulture, out int factor) ? factor : 1;

    [Fact]
    public void StoppedAnywhereItIsRunAgainAndEndsTheSame()
    {
        Qemu.Require();
        (int stops, int reruns) = (0, 0);
        Properties.ForAll(Gen.Choose(0, int.MaxValue), 12 * Factor, seed =>
        {
            (int Stops, int Reruns) done = StopAsync(seed).GetAwaiter().GetResult();
            (stops, reruns) = (stops + done.Stops, reruns + done.Reruns);
        });
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{stops} stops, {reruns} commits run again"));
        Assert.True(reruns > Factor && stops > reruns, $"{stops} stops, {reruns} commits run again");
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

        var start = new CrashChain(names.Zip(await Task.WhenAll(paths.Select(path => File.ReadAllBytesAsync(path, Token)))).ToDictionary(static pair => pair.First, static pair => pair.Second));
        View before = await ReadAsync(start, names[0]);
        int workers = random.Pick([1, 8]);
        await CommitAsync(start, names[0], top, target, workers);
        View end = await ReadAsync(start, names[target]);
        int stops = 0;
        int reruns = 0;
        foreach ((Dictionary<string, byte[]> content, string description) in start.Stops((ulong)seed, samples: 3))
        {
            string context = $"seed {seed}, {description}: {model}";
            var stopped = new CrashChain(content);
            View now = await ReadAsync(stopped, names[0]);
            before.AssertKept(now, context);
            stops++;
            bool hasSwitched = top > 0 && now.Names[top] == names[target];
            if (!hasSwitched && stops % 4 == 0)
            {
                reruns++;
                await CommitAsync(stopped, names[0], top, target, workers);
                before.AssertKept(await ReadAsync(stopped, names[0]), $"{context}, run again");
                hasSwitched = true;
            }

            if (hasSwitched)
            {
                View again = await ReadAsync(stopped, names[target]);
                end.AssertKept(again, $"{context}, run again, base");
                // Once the base has grown, what a shorter image between hides of it cannot be told from what it has gained: then more is marked, as asserted above.
                bool isSame = model.TargetSectors > model.Layers[target].Sectors ? WithoutBits(end.Stored) == WithoutBits(again.Stored) : end.Stored == again.Stored;
                Assert.True(isSame, $"{context}: the base's bitmaps, not stopped:\n{end.Stored}\nstopped and run again:\n{again.Stored}");
            }
        }

        return (stops, reruns);
    }

    private static string WithoutBits(string stored) => string.Join('\n', stored.Split('\n').Select(static line => line[..(line.LastIndexOf(' ') + 1)]));

    private static async Task CommitAsync(CrashChain images, string active, int top, int target, int workers)
    {
        await using ImageChain chain = await images.OpenAsync(active, [.. ChainCommit.WritableLayers(top, target)]);
        await ChainCommit.RunAsync(chain, top, target, new CommitOptions { Workers = workers }, cancellationToken: Token);
    }

    private static async Task<View> ReadAsync(CrashChain images, string top)
    {
        await using ImageChain chain = await images.OpenAsync(top);
        var disk = new byte[await chain.GetSizeBytesAsync(Token)];
        Assert.Equal(disk.Length, await chain.ReadAsync(0, disk, Token));
        var valid = new Dictionary<string, bool[]>(StringComparer.Ordinal);
        foreach (BitmapVerdict verdict in await chain.JudgeBitmapsAsync(cancellationToken: Token))
        {
            if (verdict.IsValid)
            {
                var sectors = new bool[disk.Length / SectorBytes];
                await foreach (DirtyExtent extent in chain.ReadExtentsAsync(verdict.Name, cancellationToken: Token))
                {
                    sectors.AsSpan((int)(extent.OffsetBytes / SectorBytes), (int)(extent.LengthBytes / SectorBytes)).Fill(true);
                }

                valid.Add(verdict.Name, sectors);
            }
        }

        string faults = "";
        foreach (ChainLayer layer in chain.Layers)
        {
            CheckReport check = await layer.Image!.CheckAsync(Token);
            faults += check.Corruptions + check.CheckErrors > 0 ? $"{layer}: {string.Join("; ", check.Findings.Take(3).Select(static finding => finding.Message))} " : "";
        }

        var stored = new List<string>();
        foreach (BitmapInfo bitmap in chain.Layers[0].Image!.Bitmaps)
        {
            string bits = bitmap.State == BitmapState.Inconsistent ? "" : Convert.ToHexString((await chain.Layers[0].Image!.Bitmaps.LoadAsync(bitmap.Name, cancellationToken: Token)).Sha256());
            stored.Add($"{bitmap.Name} {bitmap.State} {bitmap.GranularityBytes} {bits}");
        }

        return new View([.. chain.Layers.Select(static layer => layer.Path)], disk, valid, string.Join('\n', stored.Order(StringComparer.Ordinal)), faults);
    }

    /// <summary>What is seen through an image of the chain.</summary>
    private sealed record View(string[] Names, byte[] Disk, Dictionary<string, bool[]> Valid, string Stored, string Faults)
    {
        public void AssertKept(View now, string context)
        {
            Assert.True(now.Faults.Length == 0, $"{context}: {now.Faults}");
            Assert.True(now.Disk.AsSpan().SequenceEqual(Disk), $"{context}: byte {now.Disk.AsSpan().CommonPrefixLength(Disk)} changed, {Disk.Length} bytes before, {now.Disk.Length} now");
            foreach ((string name, bool[] dirty) in Valid)
            {
                Assert.True(now.Valid.TryGetValue(name, out bool[]? covered), $"{context}: '{name}' is no longer valid");
                int missed = Enumerable.Range(0, dirty.Length).FirstOrDefault(sector => dirty[sector] && !covered[sector], -1);
                Assert.True(missed < 0, $"{context}: '{name}' no longer has sector {missed}");
            }
        }
    }
}
