using System.Buffers.Binary;
using System.CommandLine;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>An option that is given twice: the last one counts where it does so for qemu-img, and lists of options add up.</summary>
public sealed class RepeatedOptionTests
{
    private static readonly string[] s_cases =
    [
        "check -f raw -f qcow2 @base",
        "check -f qcow2 -f raw @base",
        "check --output json --output human @base",
        "check --output human --output json @base",
        "check -r leaks -r all @broken",
        "check -r all -r leaks @broken",
        "check -r bad -r all @broken",
        "check -T bad -T none @base",
        "check -T none -T bad @base",
        "check -q -q -U -U @base",
        "create -f raw -f qcow2 @new 1M",
        "create -f qcow2 -b missing -b base -F raw -F qcow2 @new",
        "create -q -q -u -u -f qcow2 -b base -b nowhere -F qcow2 -F raw @new 1M",
        "create -f qcow2 -o cluster_size=4k -o lazy_refcounts=on -o cluster_size=8k @new 1M",
        "info -f qcow2 -f raw --output json --output human @base",
        "info --output human --output json -U -U --backing-chain --backing-chain @top",
        "map -f raw -f qcow2 --output human --output json -U -U @base",
        "map --start-offset=0 --start-offset=64k --max-length=64k --max-length=1M @top",
        "map --start-offset=bad --start-offset=64k @top",
        "measure -O raw -O qcow2 -o cluster_size=4k -o refcount_bits=1 -f raw -f qcow2 @base",
        "measure --output json --output human --size 1M --size 2M",
        "measure --size bad --size 2M",
        "measure -O qcow2 -l s1 -l s2 @snapshots",
        "measure -O qcow2 -l snapshot.name=s1 -l s2 @snapshots",
        "compare -f raw -f qcow2 -F qcow2 -F raw -T bad -T none @base @raw",
        "compare -p -p -q -q -s -s -U -U @base @raw",
        "compare -T none -T bad @base @raw",
        "convert -O qcow2 -O raw -f raw -f qcow2 -t bad -t none -T bad -T none @base @new",
        "convert -c -c -O qcow2 -o cluster_size=4k -o lazy_refcounts=on -o cluster_size=8k @base @new",
        "convert -S 3 -S 4k @base @new",
        "convert -S 4k -S 64k @base @new",
        "convert -m 99 -m 4 @base @new",
        "convert -m 4 -m 99 @base @new",
        "convert -B @missing -B base -F raw -F qcow2 -O qcow2 @top @new",
        "convert -l s1 -l s2 @snapshots @new",
        "convert -l snapshot.name=s1 -l s2 @snapshots @new",
        "convert -l missing -l s1 @snapshots @new",
        "convert -l snapshot.bad=s1 -l s1 @snapshots @new",
        "convert -n -n -O qcow2 @base @other",
        "convert -n --target-is-zero --target-is-zero @raw @zeros",
        "convert --bitmaps --bitmaps -O qcow2 @base @new",
        "convert -p -p -q -q -U -U -W -W -C -C @base @new",
        "convert -r bad -r 1G @base @new",
        "convert -r 1 -r 0 @base @new",
        "snapshot -l -l @snapshots",
        "snapshot -l -U -U -q -q @empty",
        "snapshot -a s1 -a s2 @snapshots",
        "snapshot -c a -c b @snapshots",
        "snapshot -d s1 -d s2 @snapshots",
        "snapshot -d s1 -c b @snapshots",
        "resize -f raw -f qcow2 -q -q --shrink --shrink @base 2M",
        "resize --preallocation=full --preallocation=off @base 8M",
        "resize --preallocation=off --preallocation=bad @base 8M",
        "commit -f raw -f qcow2 -t bad -t none -r 1 -r 0 -q -q -d -d -p -p @top",
        "commit -b missing -b base @top",
        "commit -r bad -r 1M @top",
        "commit -t none -t bad @top",
        "rebase -u -u -q -q -p -p -f raw -f qcow2 -t bad -t none -T bad -T none -b missing -b other -F raw -F qcow2 @top",
        "rebase -U -U -b missing -b empty -F raw -F qcow2 @top",
        "rebase -b base -b '' @top",
        "rebase -t none -t bad -b '' @top",
        "rebase -T none -T bad -b '' @top",
        "bitmap --add -g 1k -g 64k -f raw -f qcow2 @base new",
        "bitmap --add -g bad -g 64k @base new",
        "bitmap --merge b0 -b @missing -b @other -F raw -F qcow2 @base b0",
        "bitmap --disable --enable --disable --merge b1 --merge b0 @base b0",
    ];

    // Steps that are taken one after the other.
    private static readonly string[] s_steps = ["--add", "--remove", "--clear", "--enable", "--disable", "--merge"];

    public static TheoryData<string> Cases => [.. s_cases];

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task TheSameAsQemuImg(string commandLine)
    {
        Qemu.Require();
        using var verb = new VerbTwice();
        await verb.MakeAsync(MakeAsync);

        await verb.RequireSameAsync(commandLine);
    }

    [Fact]
    public async Task EveryOptionThatWeHaveIsInTheTable()
    {
        Qemu.Require();
        IReadOnlyList<QemuOption> options = await QemuOption.ReadAllAsync();
        foreach (Command command in Support.Cli.Root().Subcommands)
        {
            string[][] cases = [.. s_cases.Select(static line => line.Split(' ')).Where(words => words[0] == command.Name)];
            IEnumerable<QemuOption> had = options.Where(
                option => option.Verb == command.Name && OptionTableTests.Find(command, option.Name) is not null);
            Assert.All(
                had.Where(static option => option.Verb is not "bitmap" || !s_steps.Contains(option.Name)),
                option => Assert.True(
                    Array.Exists(cases, words => words.Count(word => word.Split('=')[0] == option.Name) > 1),
                    $"{command.Name} {option.Name}"));
        }
    }

    [Theory]
    [InlineData("chain", "check", "--profile", "ovirt", "--profile", "libvirt", "x")]
    [InlineData("backup", "full", "--checkpoint", "a", "--checkpoint", "b", "x", "y")]
    [InlineData("extents", "--output", "json", "--output", "human", "x", "y")]
    public async Task CommandsOfOurOwnRefuseIt(params string[] words)
    {
        ProcessResult result = await Support.Cli.RunAsync(words);

        Assert.Equal(1, result.ExitCode);
        Assert.Contains("expects a single argument but 2 were provided", result.Error, StringComparison.Ordinal);
    }

    private static async Task MakeAsync(string folder)
    {
        string File(string name) => Path.Combine(folder, name);
        foreach (string name in new[] { "base", "other", "empty" })
        {
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", File(name), "4M");
        }

        await Qemu.RunAsync("qemu-img", folder, "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top");
        await Qemu.ImgOkAsync("create", "-q", "-f", "raw", File("raw"), "4M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "raw", File("zeros"), "4M");
        foreach (string name in new[] { "base", "other" })
        {
            await Qemu.ImgOkAsync("bitmap", "--add", File(name), "b0");
            await Qemu.ImgOkAsync("bitmap", "--add", File(name), "b1");
            await Qemu.IoOkAsync(File(name), "write -P 1 0 192k");
        }

        await Qemu.IoOkAsync(File("top"), "write -P 2 1M 64k");
        await Qemu.RunAsync("qemu-io", folder, "-f", "raw", "-c", "write -P 1 0 192k", "raw");
        System.IO.File.Copy(File("empty"), File("snapshots"));
        foreach (string name in new[] { "s1", "s2" })
        {
            await Qemu.IoOkAsync(File("snapshots"), $"write -P {name[1] - '0'} 0 64k");
            await Qemu.ImgOkAsync("snapshot", "-c", name, File("snapshots"));
        }

        // A leak, and a flag that is wrong.
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", File("broken"), "4M");
        await Qemu.IoOkAsync(File("broken"), "write -P 3 0 64k");
        byte[] broken = await System.IO.File.ReadAllBytesAsync(File("broken"));
        long l1 = BinaryPrimitives.ReadInt64BigEndian(broken.AsSpan(40));
        broken[l1] &= 0x7f;
        long table = BinaryPrimitives.ReadInt64BigEndian(broken.AsSpan(48));
        long block = BinaryPrimitives.ReadInt64BigEndian(broken.AsSpan((int)table));
        broken[block + (2 * 5) + 1]++;
        await System.IO.File.WriteAllBytesAsync(File("broken"), broken);
    }
}
