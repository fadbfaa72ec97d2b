using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>An edit that is stopped at any moment leaves the image as before or as after, with leaks at worst.</summary>
public sealed class CrashReplayTests
{
    public static TheoryData<string, string> Trials => EditTrial.OneIn(2, 0);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Trials))]
    public async Task EachStateThatACrashLeavesIsAsBeforeOrAsAfter(string image, string edit)
    {
        EditTrial trial = await EditTrial.PrepareAsync(image, edit);
        await using var storage = new CrashStorage(trial.Start);
        await trial.Edit.RunAsync(storage, Token);

        int before = 0;
        int after = 0;
        var passed = new List<(CrashState Crash, ImageState State)>();
        foreach (CrashState crash in storage.States())
        {
            ImageState state = await ReadAsync(trial, crash);
            _ = trial.AssertBeforeOrAfter(state, crash.Description) ? after++ : before++;
            passed.Add((crash, state));
        }

        Assert.True(before > 0 && after > 0, $"{trial}: {before} states are as before, {after} as after");
        await AssertQemuAgreesAsync(trial, passed);
    }

    private static async Task AssertQemuAgreesAsync(EditTrial trial, List<(CrashState Crash, ImageState State)> states)
    {
        // QEMU takes its time: it is asked about some trials.
        if (!Qemu.IsHere || (trial.Image.Name.Length + trial.Edit.Name.Length) % 4 != 0)
        {
            return;
        }

        using var folder = new TempFolder();
        foreach ((CrashState crash, ImageState state) in new[] { new SplitMix((ulong)states.Count).Pick(states), states[^1] })
        {
            await QemuOpinion.AssertAgreesAsync(folder.Write("a.qcow2", crash.Content), state, $"{trial}: {crash}");
        }
    }

    private static async Task<ImageState> ReadAsync(EditTrial trial, CrashState crash)
    {
        try
        {
            return await ImageState.ReadAsync(crash.Content);
        }
        catch (Qcow2Exception unreadable)
        {
            Assert.Fail($"{trial}: {crash}: cannot be read: {unreadable.Message}");
            throw;
        }
    }
}
