using FsCheck;
using FsCheck.Fluent;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Qmp;

/// <summary>Random commands on the bitmaps of two disks, with writes between them, sent to QEMU's daemon and to us.</summary>
public sealed class RandomConversationTests
{
    private const int Commands = 40;

    private static readonly string[] s_nodes = ["n", "m"];
    private static readonly string[] s_names = ["a", "b", "c", "none"];
    private static readonly string[] s_simple = ["remove", "clear", "enable", "disable"];

    [Fact]
    public void RepliesAndBitsAreThoseOfQemu()
    {
        Qemu.Require();
        Gen<int[]> cases = Gen.Choose(0, int.MaxValue - 1).ArrayOf(Commands);
        Properties.ForAll(cases, 4 * Properties.Factor, static dice => RunAsync(dice).GetAwaiter().GetResult());
    }

    private static async Task RunAsync(int[] dice)
    {
        using var folder = TempFolder.InMemory();
        await Qemu.ImgOkAsync("create", "-f", "qcow2", folder.File("n.qcow2"), "4M");
        await Qemu.ImgOkAsync("create", "-f", "qcow2", "-o", "cluster_size=4k", folder.File("m.qcow2"), "4M");
        await Qemu.ImgOkAsync("bitmap", "--add", folder.File("n.qcow2"), "a");
        await using BothServers both = await BothServers.StartAsync(folder, ("n", "n.qcow2", false), ("m", "m.qcow2", false));
        both.ComparesOrder = false;
        foreach (int die in dice)
        {
            var left = new Dice(die);
            if (left.Next(4) == 0)
            {
                await both.WriteAsync(left.Of(s_nodes), (byte)left.Next(256), 512 * left.Next(8000), 512 * (1 + left.Next(100)));
            }
            else if (left.Next(3) == 0)
            {
                string first = ActionOf(left);
                // QEMU 7.2 dies when a transaction enables a bitmap that is not there.
                string second = ActionOf(left).Replace("-enable", "-disable", StringComparison.Ordinal);
                first = first.Replace("-enable", "-disable", StringComparison.Ordinal);
                await both.AskAsync(
                    $$"""{"execute":"transaction","arguments":{"actions":[{{first}},"""
                    + $$"""{{second}}{{(left.Next(4) == 0 ? ",{\"type\":\"abort\",\"data\":{}}" : "")}}]} }""");
            }
            else
            {
                await both.AskAsync(
                    ActionOf(left).Replace("\"type\"", "\"execute\"", StringComparison.Ordinal).Replace(
                        "\"data\"", "\"arguments\"", StringComparison.Ordinal));
            }
        }

        await both.AssertSameAsync();
        await both.QuitAsync();
    }

    private static string ActionOf(Dice left)
    {
        string node = left.Of(s_nodes);
        string name = left.Of(s_names);
        switch (left.Next(7))
        {
            case 0 or 1:
                return $$"""{"type":"block-dirty-bitmap-add","data":{"node":"{{node}}","name":"{{name}}","""
                    + $$""" "granularity":{{512 << left.Next(12)}},"persistent":{{Bool(left)}},"disabled":{{Bool(left)}} } }""";
            case 2 or 3:
                return $$"""{"type":"block-dirty-bitmap-merge","data":{"node":"{{node}}","target":"{{name}}","""
                    + $$""" "bitmaps":["{{left.Of(s_names)}}",{"node":"{{left.Of(s_nodes)}}","name":"{{left.Of(s_names)}}"}]} }""";
            default:
                return $$"""{"type":"block-dirty-bitmap-{{left.Of(s_simple)}}","data":{"node":"{{node}}","name":"{{name}}"} }""";
        }
    }

    private static string Bool(Dice left) => left.Next(2) == 0 ? "false" : "true";
}
