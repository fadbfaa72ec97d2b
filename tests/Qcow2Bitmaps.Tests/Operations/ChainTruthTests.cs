using System.Globalization;
using FsCheck.Fluent;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// No change is ever missed: whatever QEMU and we do to a chain, a bitmap that we call valid covers all that differs since its checkpoint.
/// </summary>
public sealed class ChainTruthTests
{
    private const int Steps = 12;
    private const int GapSteps = 3;
    private const int LostSteps = 2;

    [Fact]
    public void ValidBitmapsCoverAllThatChangedSinceTheirCheckpoint()
    {
        Qemu.Require();
        RunAll(40 * Properties.Factor, Steps, static world => world.StepAsync(), static folder => new QemuTruthTools(folder));
    }

    /// <summary>The same with the library in QEMU's place, which shrinks disks too.</summary>
    [Fact]
    public void ValidBitmapsCoverAllThatWeChangedSinceTheirCheckpoint() =>
        RunAll(60 * Properties.Factor, Steps, static world => world.StepAsync(), static _ => new OwnTruthTools());

    /// <summary>
    /// A checkpoint that was lost with a crashed program's memory, rebuilt from an older one, covers all that was written since it was
    /// made; whatever happened to the chain meanwhile and happens to it later.
    /// </summary>
    [Fact]
    public void ALostCheckpointRebuiltFromAnOlderOneCoversAllSinceItsBirth()
    {
        Qemu.Require();
        RunAll(25 * Properties.Factor, LostSteps, static world => world.StepLostAsync(), static folder => new QemuTruthTools(folder));
    }

    /// <inheritdoc cref="ALostCheckpointRebuiltFromAnOlderOneCoversAllSinceItsBirth"/>
    [Fact]
    public void ALostCheckpointOfOursRebuiltFromAnOlderOneCoversAllSinceItsBirth() =>
        RunAll(60 * Properties.Factor, LostSteps, static world => world.StepLostAsync(), static _ => new OwnTruthTools());

    /// <summary>
    /// A rebase onto an image that holds a bitmap of the same name, which is of another disk: populated, it took the lost one's place.
    /// </summary>
    [Theory]
    [InlineData(179898898)]
    // A shorter image is committed to one whose bitmap a crash left inconsistent: what it hid is the older one's to know.
    [InlineData(1505039289)]
    public Task LostCheckpointsOfOursDoNotTakeOthersForOlderOnes(int seed) =>
        RunAsync(seed, LostSteps, static world => world.StepLostAsync(), static _ => new OwnTruthTools());

    /// <summary>
    /// A bitmap that is not valid, as an image did not record, does not look valid once images below the active one are gone.
    /// </summary>
    [Fact]
    public void GapsDoNotVanishWithTheImagesThatLeave()
    {
        Qemu.Require();
        RunAll(40 * Properties.Factor, GapSteps, static world => world.StepBelowAsync(), static folder => new QemuTruthTools(folder));
    }

    /// <inheritdoc cref="GapsDoNotVanishWithTheImagesThatLeave"/>
    [Fact]
    public void GapsOfOursDoNotVanishWithTheImagesThatLeave() =>
        RunAll(60 * Properties.Factor, GapSteps, static world => world.StepBelowAsync(), static _ => new OwnTruthTools());

    /// <summary>Sequences that missed a change once, or showed the guest something else.</summary>
    [Theory]
    [InlineData(1141185820)]
    [InlineData(1516421361)]
    [InlineData(1139991116)]
    [InlineData(904763312)]
    [InlineData(1364192171)]
    [InlineData(1042438944)]
    public async Task GapsDoNotVanishAsTheyDidBefore(int seed)
    {
        Qemu.Require();
        await RunAsync(seed, GapSteps, static world => world.StepBelowAsync(), static folder => new QemuTruthTools(folder));
    }

    /// <inheritdoc cref="GapsDoNotVanishAsTheyDidBefore"/>
    [Theory]
    [InlineData(271966152)]
    public async Task ValidBitmapsCoverAllThatTheyMissedBefore(int seed)
    {
        Qemu.Require();
        await RunAsync(seed, Steps, static world => world.StepAsync(), static folder => new QemuTruthTools(folder));
    }

    /// <inheritdoc cref="GapsDoNotVanishAsTheyDidBefore"/>
    [Theory]
    [InlineData(720165230)]
    public Task ValidBitmapsCoverAllOfOursThatTheyMissedBefore(int seed) =>
        RunAsync(seed, Steps, static world => world.StepAsync(), static _ => new OwnTruthTools());

    private static void RunAll(int count, int steps, Func<TruthWorld, Task> step, Func<TempFolder, ITruthTools> tools)
    {
        int comparisons = 0;
        Properties.ForAll(
            Gen.Choose(0, int.MaxValue), count, seed => comparisons += RunAsync(seed, steps, step, tools).GetAwaiter().GetResult());
        TestContext.Current.TestOutputHelper?.WriteLine(
            string.Create(CultureInfo.InvariantCulture, $"{comparisons} valid bitmaps compared with the truth"));
        // A harness in which everything is soon invalid shows nothing.
        Assert.True(comparisons > count / 4, $"only {comparisons} valid bitmaps compared");
    }

    /// <summary>Runs a sequence.</summary>
    /// <returns>How often a valid bitmap was compared.</returns>
    private static async Task<int> RunAsync(int seed, int steps, Func<TruthWorld, Task> step, Func<TempFolder, ITruthTools> tools)
    {
        using var folder = TempFolder.InMemory();
        var world = new TruthWorld(folder, tools(folder), seed);
        try
        {
            await world.StartAsync();
            for (int i = 0; i < steps; i++)
            {
                await step(world);
            }

            await world.EndAsync();
            return world.Comparisons;
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"Seed {seed}:\n{world}\n{e.Message}", e);
        }
    }
}
