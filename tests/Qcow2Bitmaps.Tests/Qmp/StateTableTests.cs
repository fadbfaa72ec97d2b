using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Qmp;

/// <summary>
/// Every command on a bitmap in every state, alone and in a transaction, sent to QEMU's daemon and to us: the same replies, the same bits.
/// </summary>
public sealed class StateTableTests
{
    private static readonly string[] s_modes = ["on-success", "never", "always"];

    public static TheoryData<string, string> States => new()
    {
        { "n", "good" },
        { "n", "dis" },
        { "n", "inc" },
        { "n", "busy" },
        { "n", "busydis" },
        { "r", "good" },
        { "r", "dis" },
        { "r", "inc" },
    };

    [Theory]
    [MemberData(nameof(States))]
    public async Task RefusesAsQemuDoes(string node, string bitmap)
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        await MakeImagesAsync(folder);
        await using BothServers both = await BothServers.StartAsync(
            folder, ("n", "n.qcow2", false), ("t", "t.qcow2", false), ("u", "u.qcow2", false), ("v", "v.qcow2", false),
            ("r", "r.qcow2", true));
        await both.WriteAsync("n", 7, 1 << 20, 1 << 16);
        // Both jobs stand still behind their first MiB.
        await both.AskAsync(Backup("n", "u", "busyjob", "busy", "full", "on-success", speed: 1000));
        await both.AskAsync(Backup("n", "v", "busydisjob", "busydis", "full", "on-success", speed: 1000));
        await both.WriteAsync("n", 8, 2 << 20, 1 << 16);
        await both.AssertSameAsync();

        string named = $$"""{"node":"{{node}}","name":"{{bitmap}}"}""";
        string other = node == "n" && bitmap == "dis" ? "good" : "dis";
        (string Action, string Data)[] actions =
        [
            ("block-dirty-bitmap-add", named),
            ("block-dirty-bitmap-enable", named),
            ("block-dirty-bitmap-merge", $$"""{"node":"{{node}}","target":"{{bitmap}}","bitmaps":[{"node":"n","name":"{{other}}"}]}"""),
            ("block-dirty-bitmap-merge", $$"""{"node":"n","target":"{{other}}","bitmaps":[{"node":"{{node}}","name":"{{bitmap}}"}]}"""),
            ("block-dirty-bitmap-merge", $$"""{"node":"{{node}}","target":"{{bitmap}}","bitmaps":["{{bitmap}}"]}"""),
            ("block-dirty-bitmap-disable", named),
            ("block-dirty-bitmap-clear", named),
            ("block-dirty-bitmap-remove", named),
        ];
        await both.AskAsync(Command("x-debug-block-dirty-bitmap-sha256", named));
        foreach (string mode in s_modes)
        {
            foreach (string sync in new[] { "bitmap", "incremental", "full", "top", "none" })
            {
                await both.RunAsync(Backup(node, "t", "job", bitmap, sync, mode), "job");
                await both.AssertSameAsync();
            }
        }

        await both.RunAsync(Backup(node, "t", "job", bitmap, "incremental", mode: null), "job");
        await both.RunAsync(Backup(node, "t", "job", bitmap, "bitmap", mode: null), "job");
        foreach ((string action, string data) in actions)
        {
            // What is taken back first, then what stays.
            await both.AskAsync(
                Command(
                    "transaction",
                    $$"""{"actions":[{"type":"block-dirty-bitmap-clear","data":{"node":"n","name":"extra"} },{"type":"{{action}}","""
                    + $$""" "data":{{data}} },{"type":"abort","data":{} }]}"""));
            await both.AssertSameAsync();
            await both.AskAsync(Command(action, data));
            await both.AssertSameAsync();
        }

        await both.AskAsync(Command("job-cancel", """{"id":"busyjob"}"""));
        await both.EndedAsync("busyjob");
        await both.AskAsync(Command("block-job-cancel", """{"device":"busydisjob"}"""));
        await both.EndedAsync("busydisjob");
        await both.AssertSameAsync();
        await both.QuitAsync();
    }

    private static string Command(string name, string arguments) =>
        $$"""{"execute":"{{name}}","arguments":{{arguments}},"id":["{{name}}"]}""";

    private static string Backup(string node, string target, string job, string bitmap, string sync, string? mode, long speed = 0) =>
        Command(
        "blockdev-backup",
        $$"""{"device":"{{node}}","target":"{{target}}","job-id":"{{job}}","sync":"{{sync}}","""
        + $$""" "bitmap":"{{bitmap}}"{{(mode is null ? "" : $",\"bitmap-mode\":\"{mode}\"")}},"speed":{{speed}} }""");

    internal static async Task MakeImagesAsync(TempFolder folder)
    {
        string image = folder.File("n.qcow2");
        await Qemu.ImgOkAsync("create", "-f", "qcow2", image, "4M");
        await Qemu.IoOkAsync(image, "write -P 1 0 1M");
        await Qemu.ImgOkAsync("bitmap", "--add", image, "inc");
        await new QemuNode(image).CrashAsync();
        foreach (string name in new[] { "good", "busy", "extra" })
        {
            await Qemu.ImgOkAsync("bitmap", "--add", image, name);
        }

        await Qemu.IoOkAsync(image, "write -P 2 64k 256k");
        await Qemu.ImgOkAsync("bitmap", "--add", "--disable", image, "dis");
        await Qemu.ImgOkAsync("bitmap", "--add", "--disable", image, "busydis");
        await Qemu.ImgOkAsync("bitmap", "--merge", "good", image, "dis");
        await Qemu.ImgOkAsync("bitmap", "--merge", "good", image, "busydis");
        File.Copy(image, folder.File("r.qcow2"));
        foreach (string target in new[] { "t", "u", "v" })
        {
            await Qemu.ImgOkAsync("create", "-f", "qcow2", folder.File(target + ".qcow2"), "4M");
        }
    }
}
