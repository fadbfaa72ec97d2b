using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>
/// An edit that fails, because the disk is full or broken or because it is cancelled, leaves the image as
/// it was, and can be done afterwards.
/// </summary>
public sealed class FailedEditTests
{

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(EditTrial.OneIn), 11, 0, MemberType = typeof(EditTrial))]
    public async Task NoSpaceForOneWrite(string image, string edit)
    {
        EditTrial trial = await EditTrial.PrepareAsync(image, edit);
        bool hasFailed = true;
        for (int n = 1; hasFailed; n++)
        {
            var crashes = new CrashStorage(trial.Start);
            var storage = new FailingStorage(crashes) { FailingWrite = n, TornBytes = n % 3 * 600 };
            hasFailed = await FailAsync(trial, storage, crashes, $"write {n} fails");
        }
    }

    [Theory]
    [MemberData(nameof(EditTrial.OneIn), 11, 1, MemberType = typeof(EditTrial))]
    public async Task TheDiskIsGoneFromOneWriteOn(string image, string edit)
    {
        EditTrial trial = await EditTrial.PrepareAsync(image, edit);
        bool hasFailed = true;
        for (int n = 1; hasFailed; n++)
        {
            var crashes = new CrashStorage(trial.Start);
            var storage = new FailingStorage(crashes) { FailingWrite = n, IsGoneAfterwards = true };
            hasFailed = await FailAsync(trial, storage, crashes, $"write {n} and all later ones fail", mayLeak: true);
        }
    }

    [Theory]
    [MemberData(nameof(EditTrial.OneIn), 11, 2, MemberType = typeof(EditTrial))]
    public async Task OneFlushFails(string image, string edit)
    {
        EditTrial trial = await EditTrial.PrepareAsync(image, edit);
        bool hasFailed = true;
        for (int n = 1; hasFailed; n++)
        {
            var crashes = new CrashStorage(trial.Start);
            var storage = new FailingStorage(crashes) { FailingFlush = n };
            hasFailed = await FailAsync(trial, storage, crashes, $"flush {n} fails", mayLeak: true);
        }
    }

    [Theory]
    [MemberData(nameof(EditTrial.OneIn), 11, 3, MemberType = typeof(EditTrial))]
    public async Task TheFileCannotGrow(string image, string edit)
    {
        EditTrial trial = await EditTrial.PrepareAsync(image, edit);
        bool hasFailed = true;
        for (int clusters = 0; hasFailed; clusters++)
        {
            var crashes = new CrashStorage(trial.Start);
            var storage = new FailingStorage(crashes) { GrowthBudgetBytes = (long)clusters << trial.Image.ClusterBits };
            hasFailed = await FailAsync(trial, storage, crashes, $"the file can grow by {clusters} clusters");
        }
    }

    [Theory]
    [MemberData(nameof(EditTrial.OneIn), 11, 4, MemberType = typeof(EditTrial))]
    public async Task ADeviceThatIsFullIsNotTouched(string image, string edit)
    {
        EditTrial trial = await EditTrial.PrepareAsync(image, edit);
        for (int clusters = 0; ; clusters++)
        {
            byte[] start = [.. trial.Start, .. new byte[clusters << trial.Image.ClusterBits]];
            start.AsSpan(trial.Start.Length).Fill(0x5A);
            var crashes = new CrashStorage(start);
            var device = new FixedSizeStorage(crashes);
            try
            {
                await trial.Edit.RunAsync(device, Token);
            }
            catch (NoSpaceException)
            {
                ImageState refused = await ImageState.ReadAsync(crashes.ToArray());
                Assert.False(trial.AssertBeforeOrAfter(refused, $"no space with {clusters} free clusters"));
                Assert.Equal(trial.Before.Check.Leaks, refused.Check.Leaks);
                Assert.True(clusters < 200, $"{trial}: no space on a device with {clusters} free clusters");
                continue;
            }

            Assert.True(
                trial.AssertBeforeOrAfter(await ImageState.ReadAsync(crashes.ToArray()), $"a device with {clusters} free clusters"));
            Assert.Equal(start.Length, crashes.Length);
            return;
        }
    }

    [Theory]
    [MemberData(nameof(EditTrial.OneIn), 11, 5, MemberType = typeof(EditTrial))]
    public async Task DiscardsMayFailOrDoNothing(string image, string edit)
    {
        EditTrial trial = await EditTrial.PrepareAsync(image, edit);
        foreach (bool fails in new[] { true, false })
        {
            var crashes = new CrashStorage(trial.Start, ignoresDiscards: true);
            await trial.Edit.RunAsync(new FailingStorage(crashes) { FailsDiscards = fails }, Token);

            ImageState state = await ImageState.ReadAsync(crashes.ToArray());
            Assert.True(trial.AssertBeforeOrAfter(state, "discards fail"));
            Assert.Equal(trial.After.Check.Leaks, state.Check.Leaks);
        }
    }

    [Theory]
    [MemberData(nameof(EditTrial.OneIn), 11, 6, MemberType = typeof(EditTrial))]
    public async Task ItIsCancelled(string image, string edit)
    {
        EditTrial trial = await EditTrial.PrepareAsync(image, edit);
        bool isCancelled = true;
        for (int n = 1; isCancelled; n++)
        {
            isCancelled = await CancelAsync(trial, (n + 1) / 2, isDoneFirst: n % 2 == 0);
        }
    }

    private static async Task<bool> CancelAsync(EditTrial trial, int call, bool isDoneFirst)
    {
        string context = $"cancelled {(isDoneFirst ? "after" : "before")} call {call}";
        using var source = new CancellationTokenSource();
        await using var memory = new MemoryStorage(trial.Start);
        await using var storage = new CancellingStorage(memory, source, isDoneFirst);
        await using Qcow2Image image = await EditCase.OpenAsync(storage);
        storage.CancellingCall = storage.Calls + call;
        bool isAfter;
        try
        {
            await trial.Edit.RunAsync(image, source.Token);
            isAfter = true;
        }
        catch (OperationCanceledException)
        {
            isAfter = false;
        }

        ImageState state = await ImageState.ReadAsync(memory.ToArray());
        Assert.True(
            trial.AssertBeforeOrAfter(state, context) == isAfter, $"{trial}: {context}: has been done and says it was not, or the reverse");
        if (!isAfter)
        {
            Assert.True(state.Check.Leaks <= trial.Before.Check.Leaks, $"{trial}: {context}: leaks\n{state}");
            await trial.Edit.RunAsync(image, Token);
            Assert.True(trial.AssertBeforeOrAfter(await ImageState.ReadAsync(memory.ToArray()), $"{context}, then repeated"));
        }

        return source.IsCancellationRequested;
    }

    /// <summary>Edits on a storage that fails, and then on the same one, mended.</summary>
    /// <returns>Whether the storage has failed.</returns>
    private static async Task<bool> FailAsync(
        EditTrial trial, FailingStorage storage, CrashStorage crashes, string context, bool mayLeak = false)
    {
        await using Qcow2Image image = await EditCase.OpenAsync(storage);
        IOException? failure = null;
        try
        {
            await trial.Edit.RunAsync(image, Token);
        }
        catch (IOException thrown)
        {
            failure = thrown;
        }

        byte[] left = crashes.ToArray();
        ImageState state = await ImageState.ReadAsync(left);
        bool isAfter = trial.AssertBeforeOrAfter(state, context);
        Assert.True(failure is not null || isAfter, $"{trial}: {context}: has not been done and says it was");
        Assert.True(
            mayLeak || isAfter || state.Check.Leaks <= trial.Before.Check.Leaks, $"{trial}: {context}: leaks\n{state}");
        // Some of the states that a crash on top of it could leave: there are many failures.
        foreach (CrashState crash in crashes.States(exhaustive: 4, samples: 2).Where((_, i) => i % 4 == 3))
        {
            trial.AssertBeforeOrAfter(await ImageState.ReadAsync(crash.Content), $"{context}, then a crash: {crash}");
        }

        storage.IsMended = true;
        if (!isAfter)
        {
            Assert.True(
                trial.AssertBeforeOrAfter(
                    await ImageState.ReadAsync(await trial.Edit.RunAsync(left)), $"{context}, then opened and repeated"));
            await trial.Edit.RunAsync(image, Token);
            Assert.True(trial.AssertBeforeOrAfter(await ImageState.ReadAsync(crashes.ToArray()), $"{context}, then repeated"));
        }

        return storage.HasFailed;
    }
}
