using System.Text.Json;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Qmp;

/// <summary>Conversations with QEMU's storage daemon and with us, compared reply by reply, and by what is left in the images.</summary>
public sealed class ConversationTests
{
    [Fact]
    public async Task WrongArgumentsAreRefusedInTheWordsOfQemu()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        await using BothServers both = await StartAsync(folder);
        string[] commands =
        [
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"b"}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"b"}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n"}}""",
            """{"execute":"block-dirty-bitmap-add"}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"c","zz":1}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":3,"name":"c"}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"c","granularity":"many"}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"c","granularity":true}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"c","granularity":-5}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"c","granularity":1.5}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"c","granularity":99999999999999999999}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"c","granularity":5000000000}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"c","granularity":1000}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"c","granularity":256}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"c","granularity":0}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"c","granularity":2147483648,"disabled":true}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"p512","granularity":512,"persistent":true}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"b","persistent":3}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"zz","name":"b"}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":""}}""",
            """{"execute":"block-dirty-bitmap-remove","arguments":{"node":"n","name":"zz"}}""",
            """{"execute":"block-dirty-bitmap-clear","arguments":{"node":"zz","name":"zz"}}""",
            """{"execute":"block-dirty-bitmap-enable","arguments":{"node":"n","name":"zz"}}""",
            """{"execute":"block-dirty-bitmap-disable","arguments":{"node":"n","name":""}}""",
            """{"execute":"x-debug-block-dirty-bitmap-sha256","arguments":{"node":"n","name":"zz"}}""",
            """{"execute":"block-dirty-bitmap-merge","arguments":{"node":"n","target":"b","bitmaps":["zz"]}}""",
            """{"execute":"block-dirty-bitmap-merge","arguments":{"node":"n","target":"q","bitmaps":["b"]}}""",
            """{"execute":"block-dirty-bitmap-merge","arguments":{"node":"n","target":"b","bitmaps":[3]}}""",
            """{"execute":"block-dirty-bitmap-merge","arguments":{"node":"n","target":"b","bitmaps":[{"node":"t"}]}}""",
            """{"execute":"block-dirty-bitmap-merge","arguments":{"node":"n","target":"b","bitmaps":[{"node":3,"name":"b"}]}}""",
            """{"execute":"block-dirty-bitmap-merge","arguments":{"node":"n","target":"b","bitmaps":[{"node":"t","name":"x","u":1}]}}""",
            """{"execute":"block-dirty-bitmap-merge","arguments":{"node":"n","target":"b","bitmaps":[{"node":"t","name":"x"}]}}""",
            """{"execute":"block-dirty-bitmap-merge","arguments":{"node":"n","target":"b","bitmaps":[{"node":"q","name":"x"}]}}""",
            """{"execute":"block-dirty-bitmap-merge","arguments":{"node":"n","target":"b"}}""",
            """{"execute":"block-dirty-bitmap-merge","arguments":{"node":"n","target":"b","bitmaps":"b"}}""",
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"s","name":"b"}}""",
            """{"execute":"block-dirty-bitmap-merge","arguments":{"node":"n","target":"b","bitmaps":["c",{"node":"s","name":"b"}]}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"s","sync":"full","job-id":"j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"n","sync":"full","job-id":"j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"fulll","job-id":"j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":3,"job-id":"j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"full","job-id":"1j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"full","job-id":""}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"z","target":"t","sync":"full","job-id":"j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"z","sync":"full","job-id":"j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","job-id":"j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"incremental","job-id":"j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"bitmap","job-id":"j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"bitmap","bitmap":"b","job-id":"j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"incremental","bitmap":"zz","job-id":"j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"incremental","bitmap":"b","""
            + """ "bitmap-mode":"never","job-id":"j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"full","bitmap":"b","job-id":"j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"full","bitmap":"b","bitmap-mode":"x","""
            + """ "job-id":"j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"full","bitmap-mode":"always","job-id":"j"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"full","job-id":"j","speed":"fast"}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"full","job-id":"j","speed":1.5}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"full","job-id":"j","""
            + """ "speed":99999999999999999999}}""",
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"full","job-id":"j","on-source-error":"x"}}""",
            """{"execute":"drive-backup","arguments":{"device":"n"}}""",
            """{"execute":"drive-backup","arguments":{"device":"n","target":"FOLDER/x.img","sync":"full","job-id":"j","format":"nope"}}""",
            """{"execute":"drive-backup","arguments":{"device":"n","target":"FOLDER/x.img","sync":"full","job-id":"j","mode":"q"}}""",
            """{"execute":"query-named-block-nodes","arguments":{"flat":3}}""",
            """{"execute":"query-block","arguments":{"flat":3}}""",
            """{"execute":"block-job-cancel","arguments":{"device":"zz"}}""",
            """{"execute":"block-job-cancel","arguments":{"device":"zz","force":3}}""",
            """{"execute":"job-cancel","arguments":{"id":"zz"}}""",
            """{"execute":"job-dismiss","arguments":{"id":"zz"}}""",
            """{"execute":"job-finalize","arguments":{"id":"zz"}}""",
            """{"execute":"block-job-dismiss","arguments":{"id":"zz"}}""",
            """{"execute":"block-job-finalize","arguments":{"id":"zz"}}""",
            """{"execute":"block-job-set-speed","arguments":{"device":"zz","speed":3}}""",
            """{"execute":"block-job-set-speed","arguments":{"device":"zz"}}""",
            """{"execute":"transaction"}""",
            """{"execute":"transaction","arguments":{"actions":[]}}""",
            """{"execute":"transaction","arguments":{"actions":[3]}}""",
            """{"execute":"transaction","arguments":{"actions":[{"type":3}]}}""",
            """{"execute":"transaction","arguments":{"actions":[{"data":{}}]}}""",
            """{"execute":"transaction","arguments":{"actions":[{"type":"x"}]}}""",
            """{"execute":"transaction","arguments":{"actions":[{"type":"abort"}]}}""",
            """{"execute":"transaction","arguments":{"actions":[{"type":"abort","data":{}}]}}""",
            """{"execute":"transaction","arguments":{"actions":[{"type":"block-dirty-bitmap-add","data":3}]}}""",
            """{"execute":"transaction","arguments":{"actions":[{"type":"block-dirty-bitmap-add","data":{"node":"n"}}]}}""",
            """{"execute":"transaction","arguments":{"actions":[{"type":"block-dirty-bitmap-add","data":{"node":5,"name":"t"}}]}}""",
            """{"execute":"transaction","arguments":{"actions":[{"type":"block-dirty-bitmap-add","data":{"node":"n","name":"t","""
            + """ "granularity":1.5}}]}}""",
            """{"execute":"transaction","arguments":{"actions":[{"type":"block-dirty-bitmap-add","data":{"node":"n","name":"q","""
            + """ "u":1}}]}}""",
            """{"execute":"transaction","arguments":{"actions":[{"type":"block-dirty-bitmap-add","data":{"node":"n","name":"t"},"""
            + """ "u":4}]}}""",
            """{"execute":"transaction","arguments":{"actions":[{"type":"blockdev-backup","data":{"device":"n","target":"t","""
            + """ "sync":"x"}}]}}""",
            """{"execute":"transaction","arguments":{"actions":[{"type":"block-dirty-bitmap-merge","data":{"node":"n","target":"b","""
            + """ "bitmaps":[{"node":"n"}]}}]}}""",
            """{"execute":"transaction","arguments":{"actions":[],"properties":4}}""",
            """{"execute":"transaction","arguments":{"actions":[],"properties":{"u":4}}}""",
            """{"execute":"transaction","arguments":{"actions":[],"properties":{"completion-mode":"x"}}}""",
            """{"execute":"transaction","arguments":{"actions":[{"type":"block-dirty-bitmap-add","data":{"node":"n","name":"q"}}],"""
            + """ "properties":{"completion-mode":"grouped"}}}""",
            """{"execute":"transaction","arguments":{"actions":[{"type":"block-dirty-bitmap-add","data":{"node":"n","name":"q"}},"""
            + """{"type":"block-dirty-bitmap-clear","data":{"node":"n","name":"zz"}}]}}""",
        ];
        foreach (string command in commands)
        {
            await both.AskAsync(command);
        }

        await both.AssertSameAsync();
        await both.QuitAsync();
    }

    /// <summary>Each mode with writes before, during and after the job, and with jobs that succeed and that are cancelled.</summary>
    [Theory]
    [InlineData("full", "on-success")]
    [InlineData("full", "always")]
    [InlineData("top", "always")]
    [InlineData("bitmap", "on-success")]
    [InlineData("bitmap", "never")]
    [InlineData("bitmap", "always")]
    [InlineData("incremental", "on-success")]
    public async Task BitmapsAfterJobsAreThoseOfQemu(string sync, string mode)
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        await using BothServers both = await StartAsync(folder);
        await both.AskAsync(
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"b","persistent":true,"granularity":16384}}""");
        await both.AskAsync("""{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"all"}}""");
        await both.WriteAsync("n", 3, 0, 1 << 20);
        await both.WriteAsync("n", 3, 2 << 20, 1 << 20);
        for (int round = 0; round < 2; round++)
        {
            await both.AskAsync(
                $$$"""{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","job-id":"j","sync":"{{{sync}}}","bitmap":"b","""
                + $$$""" "bitmap-mode":"{{{mode}}}","speed":1000}}""");
            await both.WriteAsync("n", 4, (2 << 20) + (300 << 10), 100 << 10);
            await both.WriteAsync("n", 5, 3 << 20, 5000);
            await both.AssertSameAsync();
            await both.AskAsync(round == 0
                ? """{"execute":"block-job-cancel","arguments":{"device":"j"}}"""
                : """{"execute":"block-job-set-speed","arguments":{"device":"j","speed":0}}""");
            if (round == 0)
            {
                await both.EndedAsync("j");
            }
            else
            {
                // How much the writes had pushed ahead is not the same; that all is copied is.
                await both.GoneAsync("j");
            }

            await both.AssertSameAsync();
            await both.WriteAsync("n", 6, 1 << 20, 70_000);
            await both.AssertSameAsync();
        }

        await both.QuitAsync();
    }

    [Fact]
    public async Task DriveBackupsAreThoseOfQemu()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        await Qemu.ImgOkAsync("create", "-f", "qcow2", folder.File("there.qcow2"), "4M");
        await using BothServers both = await StartAsync(folder);
        await both.WriteAsync("n", 9, 100_000, 200_000);
        await both.RunAsync(
            """{"execute":"transaction","arguments":{"actions":[{"type":"block-dirty-bitmap-add","data":{"node":"n","name":"b","""
            + """ "persistent":true}},{"type":"drive-backup","data":{"device":"n","job-id":"full","target":"FOLDER/full.qcow2","""
            + """ "sync":"full","format":"qcow2"}}]}}""",
            "full");
        await both.WriteAsync("n", 10, 1 << 20, 200_000);
        await both.RunAsync(
            """{"execute":"drive-backup","arguments":{"device":"n","job-id":"inc","target":"FOLDER/there.qcow2","mode":"existing","""
            + """ "sync":"incremental","bitmap":"b"}}""",
            "inc");
        // QEMU counts for the whole disk, also what it then finds not to be in the top image.
        await both.AskAsync(
            """{"execute":"drive-backup","arguments":{"device":"n","job-id":"top","target":"FOLDER/top.qcow2","sync":"top"}}""");
        await both.GoneAsync("top");
        await both.RunAsync(
            """{"execute":"drive-backup","arguments":{"device":"n","job-id":"raw","target":"FOLDER/raw.img","sync":"full","""
            + """ "format":"raw"}}""",
            "raw");
        await both.AskAsync(
            """{"execute":"drive-backup","arguments":{"device":"n","job-id":"j","target":"FOLDER/none.qcow2","mode":"existing","""
            + """ "sync":"full"}}""");
        await both.AssertSameAsync();
        await both.QuitAsync("full.qcow2", "there.qcow2", "top.qcow2", "raw.img");
    }

    [Fact]
    public async Task JobsWaitForTheirGroupAndForTheClient()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        await using BothServers both = await StartAsync(folder);
        await both.AskAsync("""{"execute":"block-dirty-bitmap-add","arguments":{"node":"n","name":"b"}}""");
        await both.WriteAsync("n", 9, 0, 200_000);
        const string Grouped = """{"execute":"transaction","arguments":{"actions":[{"type":"blockdev-backup","data":{"device":"n","""
            + """ "target":"t","sync":"incremental","bitmap":"b","job-id":"g1"}},{"type":"blockdev-backup","data":{"device":"n","""
            + """ "target":"u","sync":"full","job-id":"g2","speed":1000}}],"properties":{"completion-mode":"grouped"}}}""";
        await both.AskAsync(Grouped);
        await both.StatusAsync("g1", "waiting");
        await both.AskAsync("""{"execute":"blockdev-backup","arguments":{"device":"t","target":"n","sync":"full","job-id":"x"}}""");
        await both.AskAsync("""{"execute":"blockdev-backup","arguments":{"device":"n","target":"u","sync":"full","job-id":"x"}}""");
        await both.AskAsync("""{"execute":"job-dismiss","arguments":{"id":"g1"}}""");
        await both.AskAsync("""{"execute":"job-finalize","arguments":{"id":"g2"}}""");
        await both.AskAsync("""{"execute":"job-cancel","arguments":{"id":"g2"}}""");
        await both.EndedAsync("g2");
        await both.EndedAsync("g1");
        await both.AssertSameAsync();
        await both.AskAsync(Grouped);
        await both.StatusAsync("g1", "waiting");
        await both.AskAsync("""{"execute":"block-job-set-speed","arguments":{"device":"g2","speed":0}}""");
        await both.EndedAsync("g2");
        await both.EndedAsync("g1");
        await both.AssertSameAsync();
        await both.AskAsync(
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"full","job-id":"j","bitmap":"b","""
            + """ "bitmap-mode":"on-success","auto-finalize":false,"auto-dismiss":false}}""");
        await both.StatusAsync("j", "pending");
        await both.AskAsync("""{"execute":"query-jobs"}""");
        await both.AskAsync("""{"execute":"query-block-jobs"}""");
        await both.AssertSameAsync();
        await both.AskAsync("""{"execute":"job-dismiss","arguments":{"id":"j"}}""");
        await both.AskAsync("""{"execute":"job-finalize","arguments":{"id":"j"}}""");
        await both.StatusAsync("j", "concluded");
        await both.AskAsync("""{"execute":"query-jobs"}""");
        await both.AskAsync("""{"execute":"job-cancel","arguments":{"id":"j"}}""");
        await both.AskAsync("""{"execute":"job-finalize","arguments":{"id":"j"}}""");
        await both.AskAsync("""{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"full","job-id":"j"}}""");
        await both.AskAsync("""{"execute":"job-dismiss","arguments":{"id":"j"}}""");
        await both.EndedAsync("j");
        await both.AskAsync(
            """{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","sync":"full","job-id":"k","auto-finalize":false,"""
            + """ "auto-dismiss":false}}""");
        await both.StatusAsync("k", "pending");
        await both.AskAsync("""{"execute":"job-cancel","arguments":{"id":"k"}}""");
        await both.StatusAsync("k", "concluded");
        await both.AskAsync("""{"execute":"query-jobs"}""");
        await both.AskAsync("""{"execute":"block-job-dismiss","arguments":{"id":"k"}}""");
        await both.EndedAsync("k");
        await both.AssertSameAsync();
        await both.QuitAsync();
    }

    /// <summary>Of QEMU's commands all those are here that are about bitmaps and backups.</summary>
    [Fact]
    public async Task CommandsAreThoseOfQemu()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        await MakeImagesAsync(folder);
        using var daemon = QemuDaemon.Start([]);
        await daemon.Peer.GreetAsync();
        await using OwnServer own = await OwnServer.StartAsync(("n", folder.File("n.qcow2"), false));
        const string Query = """{"execute":"query-commands"}""";
        HashSet<string> expected = [.. NamesOf(await daemon.Peer.OkAsync(Query))];
        string[] actual = [.. NamesOf(await own.Peer.OkAsync(Query))];
        Assert.Empty(actual.Except(expected));
        Assert.Equal(
            expected.Where(static name =>
                name.Contains("bitmap", StringComparison.Ordinal)
                    || name.EndsWith("backup", StringComparison.Ordinal)).Order(StringComparer.Ordinal),
            actual.Where(
                static name => name.Contains("bitmap", StringComparison.Ordinal) || name.EndsWith("backup", StringComparison.Ordinal)));

        static IEnumerable<string> NamesOf(JsonElement list) =>
            list.EnumerateArray().Select(static item => item.GetProperty("name").GetString()!);
    }

    private static async Task<BothServers> StartAsync(TempFolder folder)
    {
        await MakeImagesAsync(folder);
        return await BothServers.StartAsync(
            folder, ("n", "n.qcow2", false), ("t", "t.qcow2", false), ("u", "u.qcow2", false), ("s", "s.qcow2", false));
    }

    private static async Task MakeImagesAsync(TempFolder folder)
    {
        foreach (string name in new[] { "n", "t", "u" })
        {
            await Qemu.ImgOkAsync("create", "-f", "qcow2", folder.File(name + ".qcow2"), "4M");
        }

        await Qemu.IoOkAsync(folder.File("n.qcow2"), "write -P 1 0 3M");
        await Qemu.ImgOkAsync("create", "-f", "qcow2", folder.File("s.qcow2"), "2M");
    }
}
