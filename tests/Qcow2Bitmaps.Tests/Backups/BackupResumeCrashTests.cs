using System.Globalization;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>
/// A backup of mode 'always' that fails, keeps what it has and is gone on with, stopped at every write: what no bitmap marks any more is in
/// the unfinished image, and that is never lost.
/// </summary>
public sealed class BackupResumeCrashTests
{
    [Fact]
    public async Task WhereverItStopsWhatWasCopiedIsMarkedOrKept()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder, "4M");
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await scene.WriteAsync("write -P 2 64k 192k", "write -z -u 512k 64k", "write -P 3 700k 1000", "write -P 4 3M 1000");
        var always = new BackupOptions { Since = "c", Mode = BitmapSyncMode.Always };
        var stop = new BackupStop([scene], always);
        await stop.RememberAsync();
        long dirty = await scene.DirtyBytesAsync("c");
        RecordedFolder recorded;
        int failedAfter;
        using (recorded = new RecordedFolder(folder.Path))
        {
            await Assert.ThrowsAsync<IOException>(() => scene.TakeAsync(BackupStop.Target, always, new CopyFuse(2 << 20, null)));
            failedAfter = recorded.Count;
            Assert.InRange(await scene.DirtyBytesAsync("c"), 1, dirty - 1);
            await scene.TakeAsync(BackupStop.Target, always);
        }

        int unfinished = 0;
        int states = 0;
        int thrownAway = 0;
        foreach (FolderState state in recorded.States(seed: 6, samples: 1))
        {
            recorded.GoTo(state);
            try
            {
                unfinished += await scene.DirtyBytesAsync("c") is var left && left > 0 && left < dirty ? 1 : 0;
                states++;
                await stop.GoOnWithUnfinishedAsync();
                recorded.GoTo(state);
                thrownAway += await stop.GoOnWithoutAsync() ? 1 : 0;
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"{state}: {e.Message}", e);
            }
        }

        TestContext.Current.TestOutputHelper?.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture,
                $"{recorded.Count} steps, the first {failedAfter} of them failed; {states} states, {unfinished} with bits in the "
                + $"unfinished image only"));
        Assert.InRange(unfinished, 5, states - 10);
        Assert.InRange(thrownAway, 5, states - unfinished);
    }
}
