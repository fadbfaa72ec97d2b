using System.Globalization;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>
/// A whole backup, stopped at every write and every change of a name: the disks are right, no bitmap misses a change, nothing that is half
/// there is trusted, and the same call again ends right.
/// </summary>
public sealed class BackupCrashTests
{
    [Theory]
    [InlineData(null, "d")]
    [InlineData(null, "d", BitmapSyncMode.OnSuccess, "raw")]
    [InlineData("c", "d")]
    [InlineData("c", "d", BitmapSyncMode.OnSuccess, "compressed")]
    [InlineData("c", null)]
    [InlineData("c", null, BitmapSyncMode.Always)]
    [InlineData("c", null, BitmapSyncMode.Never)]
    [InlineData("c", "d", BitmapSyncMode.OnSuccess, "qcow2", 2)]
    [InlineData("c", null, BitmapSyncMode.OnSuccess, "qcow2", 2)]
    public async Task WhereverABackupStopsNothingIsLostAndNothingIsTrustedThatIsNotWhole(
        string? since, string? checkpoint, BitmapSyncMode mode = BitmapSyncMode.OnSuccess, string target = "qcow2", int disks = 1)
    {
        using var folder = TempFolder.InMemory();
        var scenes = new List<BackupScene>();
        for (int disk = 1; disk <= disks; disk++)
        {
            scenes.Add(await BackupScene.CreateAsync(folder, "1M", disk == 1 ? "" : disk.ToString(CultureInfo.InvariantCulture)));
            await scenes[^1].TakeAsync("full", new BackupOptions { Checkpoint = "c" });
            await scenes[^1].WriteAsync("write -P 2 64k 192k", "write -z -u 512k 64k", $"write -P {2 + disk} 700k 1000");
        }

        var options = new BackupOptions
        {
            Since = since,
            Checkpoint = checkpoint,
            Mode = mode,
            IsRaw = target == "raw",
            Compress = target == "compressed",
        };
        var stop = new BackupStop(scenes, options);
        await stop.RememberAsync();
        RecordedFolder recorded;
        using (recorded = new RecordedFolder(folder.Path))
        {
            await stop.TakeAsync(BackupStop.Target, options);
        }

        int[] thrownAway = [0, 0];
        var seen = new SortedDictionary<string, int>(StringComparer.Ordinal);
        foreach (FolderState state in recorded.States(seed: 6, samples: Properties.Factor))
        {
            recorded.GoTo(state);
            try
            {
                BackupStage[] stages = await stop.LookAsync();
                string all = string.Join('+', stages);
                seen[all] = seen.GetValueOrDefault(all) + 1;
                await stop.GoOnAsync(stages);
                recorded.GoTo(state);
                thrownAway[await stop.GoOnWithoutAsync() ? 1 : 0]++;
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"{state}: {e.Message}", e);
            }
        }

        // Each moment of the order that is promised was seen, between the disks too.
        string[] expected = (stop.HasAnchor, disks) switch
        {
            (false, _) => ["NotTaken", "Complete"],
            (true, 1) => ["NotTaken", "NotAnchored", "NotConfirmed", "Complete"],
            _ => [
                "NotTaken+NotTaken", "NotAnchored+NotTaken", "NotAnchored+NotAnchored", "NotConfirmed+NotAnchored",
                "NotConfirmed+NotConfirmed", "Complete+NotConfirmed", "Complete+Complete",
            ],
        };
        TestContext.Current.TestOutputHelper?.WriteLine(
            string.Create(CultureInfo.InvariantCulture, $"{recorded.Count} steps: {string.Join(", ", seen)}"));
        Assert.Equal(expected.Order(StringComparer.Ordinal), seen.Keys);
        Assert.True(thrownAway[1] > 5, "none was taken where the stopped one was thrown away");
        Assert.True(seen[expected[0]] > 5, $"only {seen[expected[0]]} states before a backup was whole");
    }
}
