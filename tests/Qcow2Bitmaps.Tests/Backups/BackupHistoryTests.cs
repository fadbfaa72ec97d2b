using System.Globalization;
using FsCheck.Fluent;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>Whatever happens to a disk, each backup of it restores what the guest saw at its point, byte for byte.</summary>
public sealed class BackupHistoryTests
{
    private const int Steps = 12;
    private const int Histories = 8;

    [Fact]
    public void EveryBackupRestoresTheDiskAsItWasAtItsPoint()
    {
        Qemu.Require();
        int restores = 0;
        int incrementals = 0;
        int failures = 0;
        Properties.ForAll(Gen.Choose(0, int.MaxValue), Histories * Properties.Factor, seed =>
        {
            (int all, int standing, int failed) = RunAsync(seed).GetAwaiter().GetResult();
            restores += all;
            incrementals += standing;
            failures += failed;
        });
        TestContext.Current.TestOutputHelper?.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture,
                $"{restores} backups restored, {incrementals} of them incremental, {failures} failures in between"));
        // A harness in which all becomes full shows nothing.
        Assert.True(incrementals > Histories * Properties.Factor / 2, $"only {incrementals} incremental backups of {restores}");
    }

    [Fact]
    public void DisksOverOneTemplateInOneFolderAreNotTakenForEachOther()
    {
        Qemu.Require();
        int incrementals = 0;
        Properties.ForAll(
            Gen.Choose(0, int.MaxValue), Histories * Properties.Factor,
            seed => incrementals += RunClonesAsync(seed).GetAwaiter().GetResult());
        TestContext.Current.TestOutputHelper?.WriteLine(
            string.Create(CultureInfo.InvariantCulture, $"{incrementals} incremental backups restored"));
        Assert.True(incrementals > Histories * Properties.Factor / 2, $"only {incrementals} incremental backups");
    }

    private static async Task<int> RunClonesAsync(int seed)
    {
        using var folder = TempFolder.InMemory();
        var world = new CloneWorld(folder, seed);
        try
        {
            await world.StartAsync();
            for (int step = 0; step < 2 * Steps; step++)
            {
                await world.StepAsync();
            }

            await world.EndAsync();
            return world.Incrementals;
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"Seed {seed}:\n{world}\n{e}", e);
        }
    }

    private static async Task<(int Restores, int Incrementals, int Failures)> RunAsync(int seed)
    {
        using var folder = TempFolder.InMemory();
        var world = new BackupWorld(folder, seed);
        try
        {
            await world.StartAsync();
            for (int step = 0; step < Steps; step++)
            {
                await world.StepAsync();
            }

            await world.EndAsync();
            return (world.Restores, world.Incrementals, world.Failures);
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"Seed {seed}:\n{world}\n{e}", e);
        }
    }
}
