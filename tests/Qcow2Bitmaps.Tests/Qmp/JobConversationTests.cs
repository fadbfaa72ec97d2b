using System.Text.Json;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Qmp;

/// <summary>What clients do with jobs that run, and what jobs tell when they fail, compared with QEMU's storage daemon.</summary>
public sealed class JobConversationTests
{
    private const string Backup = """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","job-id":"j","sync":"full""";

    [Fact]
    public async Task JobsArePausedAndResumedAndCompleted()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        await using BothServers both = await StartAsync(folder);
        await both.AskAsync(Backup + "\",\"speed\":1000}}");
        await both.StatusAsync("j", "running");
        foreach (string command in new[]
        {
            Job("resume"), BlockJob("resume"), Job("pause"), Job("pause"), BlockJob("pause"), Job("complete"), Job("finalize"),
            Job("dismiss"), BlockJob("resume"), BlockJob("resume"), Job("resume"),
            BlockJob("pause"), Job("resume"), Job("complete"), BlockJob("complete"), Job("dismiss"), Job("finalize"),
            """{"execute":"block-job-pause","arguments":{"device":"j","zz":1}}""",
            """{"execute":"job-pause"}""", """{"execute":"job-resume","arguments":{"id":3}}""", Job("pause", "zz"), Job("resume", "zz"),
            Job("complete", "zz"), BlockJob("pause", "zz"), BlockJob("resume", "zz"),
            BlockJob("complete", "zz"), Job("pause"),
        })
        {
            await both.AskAsync(command);
        }

        await both.EventuallySameAsync("""{"execute":"query-jobs"}""");
        await both.EventuallySameAsync("""{"execute":"query-block-jobs"}""");
        // What is written while the job stands still is not in the backup.
        await both.AskAsync("""{"execute":"block-job-set-speed","arguments":{"device":"j","speed":0}}""");
        await both.AskAsync(Job("resume"));
        await both.EndedAsync("j");

        // Paused jobs are cancelled like others.
        await both.AskAsync(Backup + "\",\"speed\":1000}}");
        await both.AskAsync(Job("pause"));
        await both.AskAsync(Job("cancel"));
        await both.GoneAsync("j");
        await both.AskAsync(Backup + "\",\"auto-finalize\":false,\"auto-dismiss\":false}}");
        await both.StatusAsync("j", "pending");
        foreach (string command
            in new[]
            {
                Job("pause"),
                Job("resume"),
                Job("complete"),
                BlockJob("complete"),
                """{"execute":"block-job-set-speed","arguments":{"device":"j","speed":5}}""",
                Job("finalize"),
            })
        {
            await both.AskAsync(command);
        }

        await both.StatusAsync("j", "concluded");
        foreach (string command in new[] { Job("pause"), Job("resume"), Job("complete"), Job("finalize"), Job("cancel"), Job("dismiss") })
        {
            await both.AskAsync(command);
        }

        await both.EndedAsync("j");
        await both.AssertSameAsync();
        await both.QuitAsync();
    }

    [Fact]
    public async Task WhatIsWrittenWhileAJobIsPausedIsNotInItsBackup()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        await using BothServers both = await StartAsync(folder);
        await both.WriteAsync("n", 1, 0, 3 << 20);
        await both.AskAsync(Backup + "\",\"speed\":1000}}");
        await both.AskAsync(Job("pause"));
        await both.WriteAsync("n", 7, 0, 3 << 20);
        await both.AskAsync("""{"execute":"block-job-set-speed","arguments":{"device":"j","speed":0}}""");
        await both.AskAsync(Job("resume"));
        await both.GoneAsync("j");
        await both.QuitAsync();
        await Qemu.IoOkAsync(folder.File("own/t.qcow2"), "read -P 1 0 3M");
        await Qemu.IoOkAsync(folder.File("own/n.qcow2"), "read -P 7 0 3M");
    }

    [Fact]
    public async Task ANameIsNotFreeBeforeItsRemovalIsDone()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        await using BothServers both = await StartAsync(folder);
        foreach (string persistent in new[] { "false", "true" })
        {
            string added = $$$"""{"node":"n","name":"b","persistent":{{{persistent}}}}""";
            string add = $$$"""{"type":"block-dirty-bitmap-add","data":{{{added}}}}""";
            const string Named = """{"node":"n","name":"b"}""";
            string remove = Action("remove");
            await both.AskAsync($$$"""{"execute":"block-dirty-bitmap-add","arguments":{{{added}}}}""");
            await both.AskAsync("""{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"c"}}""");
            // Not 'enable': QEMU 7.2 disables a bitmap whose enabling it refuses in a transaction.
            foreach (string second in new[]
            {
                add, remove, Action("clear"), Action("disable"),
                """{"type":"block-dirty-bitmap-merge","data":{"node":"n","target":"c","bitmaps":["b"]}}""",
                """{"type":"block-dirty-bitmap-merge","data":{"node":"n","target":"b","bitmaps":["c"]}}""",
                """{"type":"blockdev-backup","data":{"device":"n","target":"t","sync":"bitmap","bitmap":"b","bitmap-mode":"never","""
                + """ "job-id":"j"}}""",
                """{"type":"abort","data":{}}""",
            })
            {
                await both.AskAsync($$$"""{"execute":"transaction","arguments":{"actions":[{{{remove}}},{{{second}}}]}}""");
                await both.AssertSameAsync();
            }

            await both.AskAsync(
                $$$"""{"execute":"transaction","arguments":{"actions":[{{{remove}}},{"type":"block-dirty-bitmap-remove","""
                + $$$""" "data":{"node":"n","name":"c"}}]}}""");
            await both.AssertSameAsync();
            await both.AskAsync($$$"""{"execute":"transaction","arguments":{"actions":[{{{remove}}},{{{add}}}]}}""");

            string Action(string verb) => $$$"""{"type":"block-dirty-bitmap-{{{verb}}}","data":{{{Named}}}}""";
        }

        await both.QuitAsync();
    }

    [Fact]
    public async Task BackupsAreCompressed()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        await Qemu.ImgOkAsync("create", "-f", "raw", folder.File("there.img"), "4M");
        await Qemu.ImgOkAsync("create", "-f", "qcow2", "-o", "cluster_size=4k", folder.File("small.qcow2"), "4M");
        await using BothServers both = await StartAsync(folder);
        await both.RunAsync(
            """{"execute":"drive-backup","arguments":{"device":"n","job-id":"j","target":"FOLDER/new.qcow2","sync":"full","""
            + """ "compress":true}}""",
            "j");
        await both.RunAsync(
            """{"execute":"drive-backup","arguments":{"device":"n","job-id":"j","target":"FOLDER/small.qcow2","mode":"existing","""
            + """ "sync":"full","compress":true}}""",
            "j");
        await both.RunAsync(Backup + "\",\"compress\":true}}", "j");
        await both.AskAsync(
            """{"execute":"drive-backup","arguments":{"device":"n","job-id":"j","target":"FOLDER/x.img","format":"raw","sync":"full","""
            + """ "compress":true}}""");
        await both.AskAsync(
            """{"execute":"drive-backup","arguments":{"device":"n","job-id":"j","target":"FOLDER/there.img","format":"raw","""
            + """ "mode":"existing","sync":"full","compress":true}}""");
        await both.AssertSameAsync();
        await both.QuitAsync("new.qcow2", "small.qcow2");
        foreach (string name in new[] { "new.qcow2", "small.qcow2", "t.qcow2" })
        {
            Assert.Contains(
                "100.00% compressed clusters", await Qemu.ImgOkAsync("check", folder.File("own/" + name)), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task SyncTopCountsAsQemuDoes()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        await Qemu.ImgOkAsync("create", "-f", "qcow2", folder.File("base.qcow2"), "4M");
        await Qemu.IoOkAsync(folder.File("base.qcow2"), "write -P 2 0 2M");
        await Qemu.ImgOkAsync("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", folder.File("o.qcow2"), "4M");
        await Qemu.IoOkAsync(folder.File("o.qcow2"), "write -P 3 1M 300k", "write -P 3 3900k 8k", "write -z 2M 64k");
        folder.Write("old.img", [.. Enumerable.Repeat((byte)9, 4 << 20)]);
        await using BothServers both = await StartAsync(folder, ("o", "o.qcow2", false));
        foreach (string device in new[] { "o", "n" })
        {
            await both.AskAsync(
                $$$"""{"execute":"blockdev-backup","arguments":{"device":"{{{device}}}","target":"t","job-id":"j","sync":"top","""
                + $$$""" "auto-finalize":false}}""");
            await both.StatusAsync("j", "pending");
            await both.AskAsync("""{"execute":"query-jobs"}""");
            await both.AskAsync("""{"execute":"query-block-jobs"}""");
            await both.AskAsync(Job("finalize"));
            await both.EndedAsync("j");
        }

        await both.RunAsync(
            """{"execute":"drive-backup","arguments":{"device":"o","job-id":"top","target":"FOLDER/top.qcow2","sync":"top"}}""", "top");
        // Of an image without a backing file the file that is there is overwritten with all of the disk.
        await both.RunAsync(
            """{"execute":"drive-backup","arguments":{"device":"n","job-id":"whole","target":"FOLDER/old.img","mode":"existing","""
            + """ "format":"raw","sync":"top"}}""",
            "whole");
        await both.QuitAsync("top.qcow2", "old.img");
    }

    /// <summary>An error is told as such before the job ends; what its text says is ours.</summary>
    [Fact]
    public async Task ErrorsAreReported()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        await Qemu.ImgOkAsync("create", "-f", "qcow2", folder.File("plain.qcow2"), "4M");
        await Qemu.IoOkAsync(folder.File("plain.qcow2"), "write -P 2 0 64k");
        await Qemu.ImgOkAsync("convert", "-c", "-O", "qcow2", folder.File("plain.qcow2"), folder.File("broken.qcow2"));
        byte[] image = await File.ReadAllBytesAsync(folder.File("broken.qcow2"), TestContext.Current.CancellationToken);
        // The only compressed cluster stands at the end.
        image.AsSpan(5 << 16).Fill(0xff);
        folder.Write("broken.qcow2", image);
        await using BothServers both = await StartAsync(folder, ("x", "broken.qcow2", false));
        await both.AskAsync("""{"execute":"block-dirty-bitmap-add","arguments":{"node":"x","name":"b"}}""");
        await both.AskAsync(
            """{"execute":"blockdev-backup","arguments":{"device":"x","target":"t","job-id":"j","sync":"full","bitmap":"b","""
            + """ "bitmap-mode":"on-success","on-source-error":"report","on-target-error":"report"}}""");
        await both.FailedAsync("j");
        await both.AssertSameAsync();
    }

    [Fact]
    public async Task ATargetWithoutRoomIsReported()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        using var devices = new LoopDevices();
        string[] servers = ["own", "qemu"];
        foreach (string server in servers)
        {
            string device = await devices.AttachAsync(folder.Write(server + ".device", new byte[1 << 20]));
            await Qemu.ImgOkAsync("create", "-f", "qcow2", device, "4M");
            File.CreateSymbolicLink(folder.File(server + ".link"), device);
        }

        using var images = new TempFolder();
        await using BothServers both = await StartAsync(images);
        foreach (string server in servers)
        {
            File.Move(folder.File(server + ".link"), images.File(server + "/device"));
        }

        await both.AskAsync(
            """{"execute":"drive-backup","arguments":{"device":"n","job-id":"j","target":"FOLDER/device","format":"qcow2","""
            + """ "mode":"existing","sync":"full"}}""");
        await both.FailedAsync("j");
        await both.QuitAsync();
    }

    /// <summary>All or none, even where one that is cancelled takes its time.</summary>
    [Fact]
    public async Task AGroupEndsAsOne()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        string[] names = ["n", "m", "t", "u"];
        foreach (string name in names)
        {
            await Qemu.ImgOkAsync("create", "-f", "qcow2", folder.File(name + ".qcow2"), "4M");
        }

        await using OwnServer own = await OwnServer.StartAsync([.. names.Select(name => (name, folder.File(name + ".qcow2"), false))]);
        await own.Peer.OkAsync(
            """{"execute":"transaction","arguments":{"actions":[{"type":"blockdev-backup","data":{"device":"n","target":"t","""
            + """ "sync":"full","job-id":"g1","auto-finalize":false}},{"type":"blockdev-backup","data":{"device":"m","target":"u","""
            + """ "sync":"full","job-id":"g2","auto-finalize":false}}],"properties":{"completion-mode":"grouped"}}}""");
        await StatusAsync("g1", "pending");
        await StatusAsync("g2", "pending");
        // The cancelled job cannot end while its disk is held.
        await own.Disk("m").EnterAloneAsync();
        await own.Peer.OkAsync(Job("cancel", "g2"));
        await own.Peer.OkAsync(Job("finalize", "g1"));
        for (int i = 0; i < 50; i++)
        {
            Assert.Equal(2, (await own.Peer.OkAsync("""{"execute":"query-jobs"}""")).GetArrayLength());
        }

        own.Disk("m").Exit();
        await StatusAsync("g1", "null");
        await StatusAsync("g2", "null");
        Assert.Equal(
            ["BLOCK_JOB_CANCELLED", "BLOCK_JOB_CANCELLED"],
            own.Peer.Events.Select(static e => e.GetProperty("event").GetString()!).Where(
                static name => name.StartsWith("BLOCK_JOB_C", StringComparison.Ordinal)));

        Task StatusAsync(string id, string status) => own.Peer.EventAsync(e => e.GetProperty("data") is var data
            && data.TryGetProperty("id", out JsonElement named)
                && named.GetString() == id
                && data.TryGetProperty("status", out JsonElement told)
                && told.GetString() == status);
    }

    private static string Job(string verb, string id = "j") => $$$"""{"execute":"job-{{{verb}}}","arguments":{"id":"{{{id}}}"}}""";

    private static string BlockJob(string verb, string id = "j") =>
        $$$"""{"execute":"block-job-{{{verb}}}","arguments":{"device":"{{{id}}}"}}""";

    private static async Task<BothServers> StartAsync(TempFolder folder, params (string Node, string Name, bool IsReadOnly)[] more)
    {
        foreach (string name in new[] { "n", "t" })
        {
            await Qemu.ImgOkAsync("create", "-f", "qcow2", folder.File(name + ".qcow2"), "4M");
        }

        await Qemu.IoOkAsync(folder.File("n.qcow2"), "write -P 1 0 3M");
        return await BothServers.StartAsync(folder, [("n", "n.qcow2", false), ("t", "t.qcow2", false), .. more]);
    }
}
