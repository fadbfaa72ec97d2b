using System.Diagnostics;
using System.Text.Json;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Qmp;

/// <summary>
/// The commands of the document of 2015 that proposed dirty bitmaps, as they are printed there: with commas that JSON forbids,
/// a number in a string, and the name that sync mode "incremental" had then. They go through the tool itself, in a process of
/// its own whose folder relative names are of.
/// </summary>
public sealed class OldDocumentTests
{
    private const string Folder = "/path/to";

    private const string Add = """
        { "execute": "block-dirty-bitmap-add",
         "arguments": {
         "node": "drive0",
         "name": "bitmap0"
         }
        }
        """;

    private const string AddWithGranularity = """
        { "execute": "block-dirty-bitmap-add",
         "arguments": {
         "node": "drive0",
         "name": "bitmap0",
         "granularity": "32768"
         }
        }
        """;

    private const string NewChain = """
        { "execute": "transaction",
         "arguments": {
         "actions": [
         {"type": "block-dirty-bitmap-add",
         "data": {"node": "drive0", "name": "bitmap0"} },
         {"type": "drive-backup",
         "data": {"device": "drive0", "target": "/path/to/full_backup.img",
         "sync": "full", "format": "qcow2"} }
         ]
         }
        }
        """;

    private const string NewAnchor = """
        { "execute": "transaction",
         "arguments": {
         "actions": [
         {"type": "block-dirty-bitmap-clear",
         "data": {"node": "drive0", "name": "bitmap0"} },
         {"type": "drive-backup",
         "data": {"device": "drive0", "target": "/path/to/new_full_backup.img",
         "sync": "full", "format": "qcow2"} }
         ]
         }
        }
        """;

    private const string FirstIncremental = """
        { "execute": "drive-backup",
         "arguments": {
         "device": "drive0",
         "bitmap": "bitmap0",
         "target": "incremental.0.img",
         "format": "qcow2",
         "sync": "dirty-bitmap",
         "mode": "existing"
         }
        }
        """;

    private const string SecondIncremental = """
        { "execute": "drive-backup",
         "arguments": {
         "device": "drive0",
         "bitmap": "bitmap0",
         "target": "incremental.1.img",
         "format": "qcow2",
         "sync": "dirty-bitmap",
         "mode": "existing"
         }
        }
        """;

    [Fact]
    public async Task ItsStoryEndsInTheDiskAtEachPoint()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        await MakeImagesAsync(folder);
        (Process process, QmpPeer peer) = await StartAsync(folder);
        using (process)
        using (peer)
        {
            await peer.OkAsync(Add);
            await AssertBitmapAsync(peer, 65536, isRecording: true, countBytes: 0);
            await peer.OkAsync(OnBitmap("remove"));
            await peer.OkAsync(AddWithGranularity);
            await AssertBitmapAsync(peer, 32768, isRecording: true, countBytes: 0);
            await peer.OkAsync(OnBitmap("disable"));
            await AssertBitmapAsync(peer, 32768, isRecording: false, countBytes: 0);
            await peer.OkAsync(OnBitmap("enable"));
            await WriteAsync(peer, "guest0");
            await AssertBitmapAsync(peer, 32768, isRecording: true, countBytes: 1 << 20);
            await peer.OkAsync(OnBitmap("clear"));
            await AssertBitmapAsync(peer, 32768, isRecording: true, countBytes: 0);
            await peer.OkAsync(OnBitmap("remove"));

            await BackUpAsync(peer, folder, NewChain, "full_backup.img", "truth0.img");
            await WriteAsync(peer, "guest1");
            await Qemu.ImgOkAsync("create", "-f", "qcow2", folder.File("incremental.0.img"), "-b", "full_backup.img", "-F", "qcow2");
            await BackUpAsync(peer, folder, FirstIncremental, "incremental.0.img", "truth1.img");
            await WriteAsync(peer, "guest2");
            await Qemu.ImgOkAsync("create", "-f", "qcow2", folder.File("incremental.1.img"), "-b", "incremental.0.img", "-F", "qcow2");
            await BackUpAsync(peer, folder, SecondIncremental, "incremental.1.img", "truth2.img");

            await WriteAsync(peer, "guest0");
            await BackUpAsync(peer, folder, NewAnchor, "new_full_backup.img", "truth3.img");
            await AssertBitmapAsync(peer, 65536, isRecording: true, countBytes: 0);
            await peer.OkAsync("""{"execute":"quit"}""");
            await process.WaitForExitAsync(TestContext.Current.CancellationToken);
            Assert.Equal(0, process.ExitCode);
            string[] warnings = (
                await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken)).Split(
                    '\n', StringSplitOptions.RemoveEmptyEntries);
            Assert.Equal(5, warnings.Count(static line => line.Contains("comma before a closing bracket", StringComparison.Ordinal)));
            Assert.Single(warnings, static line => line.Contains("'granularity' is a string", StringComparison.Ordinal));
            Assert.Equal(2, warnings.Count(static line => line.Contains("'dirty-bitmap'", StringComparison.Ordinal)));
            Assert.Equal(8, warnings.Length);
        }

        // Nothing that came later has changed what was backed up, and incremental backups hold no more than what was written.
        foreach ((string backup, string truth)
            in new[]
            {
                ("full_backup.img", "truth0.img"),
                ("incremental.0.img", "truth1.img"),
                ("incremental.1.img", "truth2.img"),
                ("new_full_backup.img", "truth3.img"),
                ("drive0.img", "truth3.img"),
            })
        {
            await Qemu.ImgOkAsync("compare", folder.File(backup), folder.File(truth));
            await Qemu.ImgOkAsync("check", folder.File(backup));
        }

        using var map = JsonDocument.Parse(await Qemu.ImgOkAsync("map", "--output=json", folder.File("incremental.1.img")));
        Assert.Equal(
            1 << 20,
            map.RootElement.EnumerateArray()
                .Where(static extent => extent.GetProperty("depth").GetInt32() == 0)
                .Sum(static extent => extent.GetProperty("length").GetInt64()));
    }

    /// <summary>
    /// guestN are what a guest writes: their top images have nothing else. truthN are the disk at each point, made by QEMU alone.
    /// </summary>
    private static async Task MakeImagesAsync(TempFolder folder)
    {
        string[] writes = ["write -P 20 512k 1M", "write -P 21 3M 2M", "write -P 22 4M 1M"];
        string disk = folder.File("drive0.img");
        await Qemu.ImgOkAsync("create", "-f", "qcow2", disk, "8M");
        await Qemu.IoOkAsync(disk, "write -P 1 0 4M");
        for (int i = 0; i < writes.Length; i++)
        {
            string guest = folder.File($"guest{i}.img");
            await Qemu.ImgOkAsync("create", "-f", "qcow2", guest, "8M");
            await Qemu.IoOkAsync(guest, writes[i]);
        }

        await Truth(0, 0);
        await Truth(1, 0, 1);
        await Truth(2, 0, 1, 2);
        await Truth(3, 0, 1, 2, 0);

        async Task Truth(int point, params int[] done)
        {
            string truth = folder.File($"truth{point}.img");
            File.Copy(disk, truth);
            await Qemu.IoOkAsync(truth, [.. done.Select(i => writes[i])]);
        }
    }

    private static async Task<(Process Process, QmpPeer Peer)> StartAsync(TempFolder folder)
    {
        Process process = Tool.Start(
            folder.Path, "qmp", "--image", "drive0=drive0.img",
            "--read-only-image", "guest0=guest0.img", "--read-only-image", "guest1=guest1.img", "--read-only-image", "guest2=guest2.img");
        var peer = new QmpPeer(process.StandardInput.BaseStream, process.StandardOutput.BaseStream);
        await peer.GreetAsync();
        return (process, peer);
    }

    private static async Task WriteAsync(QmpPeer peer, string guest)
    {
        await peer.OkAsync($$$"""{"execute":"blockdev-backup","arguments":{"device":"{{{guest}}}","target":"drive0","sync":"top"}}""");
        await EndedAsync(peer, guest);
    }

    private static async Task BackUpAsync(QmpPeer peer, TempFolder folder, string command, string backup, string truth)
    {
        await peer.OkAsync(command.Replace(Folder, folder.Path, StringComparison.Ordinal));
        await EndedAsync(peer, "drive0");
        await Qemu.ImgOkAsync("compare", folder.File(backup), folder.File(truth));
    }

    /// <summary>Waits until a job is gone, and expects it to have completed. Where no id is given it has the device's name.</summary>
    private static async Task EndedAsync(QmpPeer peer, string job)
    {
        await peer.EventAsync(e =>
            e.GetProperty("data").TryGetProperty("status", out JsonElement status)
                && status.GetString() == "null"
                && e.GetProperty("data").GetProperty("id").GetString() == job);
        JsonElement completed = Assert.Single(
            peer.Take(static _ => true), static e => e.GetProperty("event").GetString() == "BLOCK_JOB_COMPLETED");
        Assert.False(completed.GetProperty("data").TryGetProperty("error", out _));
    }

    private static async Task AssertBitmapAsync(QmpPeer peer, long granularityBytes, bool isRecording, long countBytes)
    {
        JsonElement drive = (await peer.OkAsync("""{"execute":"query-block"}""")).EnumerateArray().Single(
            static block => block.GetProperty("device").GetString() == "drive0");
        JsonElement bitmap = Assert.Single(drive.GetProperty("inserted").GetProperty("dirty-bitmaps").EnumerateArray());
        Assert.Equal("bitmap0", bitmap.GetProperty("name").GetString());
        Assert.Equal(granularityBytes, bitmap.GetProperty("granularity").GetInt64());
        Assert.Equal(isRecording, bitmap.GetProperty("recording").GetBoolean());
        Assert.Equal(countBytes, bitmap.GetProperty("count").GetInt64());
        Assert.False(bitmap.GetProperty("busy").GetBoolean());
    }

    private static string OnBitmap(string command) => $$"""
        { "execute": "block-dirty-bitmap-{{command}}",
         "arguments": {
         "node": "drive0",
         "name": "bitmap0",
         }
        }
        """;
}
