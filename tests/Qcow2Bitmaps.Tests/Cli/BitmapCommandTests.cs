using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>
/// <c>bitmap</c> is qemu-img's verb: the same messages, exit codes and bitmaps, but for what is written down here. And all steps, or none.
/// </summary>
public sealed partial class BitmapCommandTests : IDisposable
{
    private readonly TempFolder _theirs = new();
    private readonly TempFolder _ours = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _theirs.Dispose();
        _ours.Dispose();
    }

    /// <summary>qemu-img lets the file keep what becomes free; we give it back unless asked to do as it does.</summary>
    [Theory]
    [InlineData("ignore", false)]
    [InlineData("unmap", true)]
    [InlineData("", true)]
    public async Task RemovingGivesTheSpaceBackUnlessTold(string discard, bool isGivenBack)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Space is given back on Linux");
        const int Dirty = 1 << 20;
        string path = _ours.File("d.qcow2");
        await Qcow2Image.CreateAsync(path, new Qcow2CreateOptions { SizeBytes = 1L << 34 }, Token);
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token))
        {
            var bits = new DirtyBitmap(1L << 34, 512);
            for (long at = 0; at < 1L << 34; at += 1024)
            {
                bits.Set(at, 512);
            }

            await image.Bitmaps.EditAsync(edit => edit.Add("x", 512).Merge(bits, "x"), Token);
        }

        long before = await AllocatedBytesAsync(path);
        string[] option = discard.Length == 0 ? [] : ["--discard", discard];
        ProcessResult result = await Support.Cli.RunAsync(["bitmap", "--remove", .. option, path, "x"]);
        Assert.Equal((0, "", ""), (result.ExitCode, result.Output, result.Error));
        long given = before - await AllocatedBytesAsync(path);
        Assert.True(isGivenBack ? given > Dirty : given == 0, $"{given} bytes were given back");
    }

    private static async Task<long> AllocatedBytesAsync(string path)
    {
        await using var storage = FileStorage.Open(path, FileAccess.Read, ImageLock.None);
        return storage.AllocatedBytes!.Value;
    }

    [Theory]
    [InlineData("--add a.qcow2 x")]
    [InlineData("--add a.qcow2 y")]
    [InlineData("--add -g 1M a.qcow2 x")]
    [InlineData("-g 512 --add a.qcow2 x")]
    [InlineData("--add -g 2G b.qcow2 z")]
    [InlineData("--add -g 0 a.qcow2 x")]
    [InlineData("--add -g 0x1000 a.qcow2 x")]
    [InlineData("--add -g 0.5k a.qcow2 x")]
    [InlineData("--add -g 1.5k a.qcow2 x")]
    [InlineData("--add -g 64kB a.qcow2 x")]
    [InlineData("--add -g 12345 a.qcow2 x")]
    [InlineData("--add -g 256 a.qcow2 x")]
    [InlineData("--add -g 4G a.qcow2 x")]
    [InlineData("--add -g 3P a.qcow2 x")]
    [InlineData("--add -g foo a.qcow2 x")]
    [InlineData("--add -g=-1 a.qcow2 x")]
    [InlineData("--add -g 99999999999999999999 a.qcow2 x")]
    [InlineData("--add v2.qcow2 x")]
    [InlineData("--add big.qcow2 x")]
    [InlineData("--add -g 128k big.qcow2 x")]
    [InlineData("--add -f raw r.raw x")]
    [InlineData("--add -f qcow2 a.qcow2 x")]
    [InlineData("--add --disable --merge y a.qcow2 x")]
    [InlineData("--add --merge y --merge x a.qcow2 x")]
    [InlineData("--add --add a.qcow2 x")]
    [InlineData("--add --clear --enable --remove --add -g 32k a.qcow2 x")]
    [InlineData("--remove a.qcow2 y")]
    [InlineData("--remove a.qcow2 x")]
    [InlineData("--remove -f raw r.raw x")]
    [InlineData("--remove --remove a.qcow2 y")]
    [InlineData("--remove --add -g 4k a.qcow2 y")]
    [InlineData("--clear a.qcow2 y")]
    [InlineData("--clear a.qcow2 x")]
    [InlineData("--disable a.qcow2 y")]
    [InlineData("--disable --enable a.qcow2 y")]
    [InlineData("--enable a.qcow2 x")]
    [InlineData("--merge y a.qcow2 y")]
    [InlineData("--merge x a.qcow2 y")]
    [InlineData("--merge y a.qcow2 x")]
    [InlineData("--merge=coarse --clear --merge fine c.qcow2 new --add")]
    [InlineData("--add --merge coarse --merge fine c.qcow2 new")]
    [InlineData("--merge fine c.qcow2 coarse")]
    [InlineData("--merge fine -b c.qcow2 a.qcow2 y")]
    [InlineData("--merge fine -b c.qcow2 -F qcow2 --merge coarse a.qcow2 y")]
    [InlineData("--add --merge fine -b c.qcow2 a.qcow2 new")]
    [InlineData("--merge fine -b c.qcow2 -F raw a.qcow2 y")]
    [InlineData("--merge nosuch -b c.qcow2 a.qcow2 y")]
    [InlineData("--merge fine -b c.qcow2 a.qcow2 x")]
    [InlineData("--merge nosuch -b c.qcow2 a.qcow2 x")]
    [InlineData("--merge x -b b.qcow2 a.qcow2 y")]
    [InlineData("--merge x -b b.qcow2 a.qcow2 x")]
    [InlineData("--clear --merge nosuch -b c.qcow2 a.qcow2 x")]
    [InlineData("--add --merge x -b b.qcow2 a.qcow2 y")]
    [InlineData("--merge bad -b d.qcow2 a.qcow2 y")]
    [InlineData("--merge fine -b c.qcow2 d.qcow2 bad")]
    [InlineData("--merge x -b b.qcow2 d.qcow2 bad")]
    [InlineData("--merge y -b nosuch a.qcow2 y")]
    [InlineData("--merge y -b a.qcow2 a.qcow2 y")]
    [InlineData("--clear d.qcow2 bad")]
    [InlineData("--enable d.qcow2 bad")]
    [InlineData("--disable d.qcow2 bad")]
    [InlineData("--merge good d.qcow2 bad")]
    [InlineData("--merge bad d.qcow2 good")]
    [InlineData("--merge nosuch d.qcow2 bad")]
    [InlineData("--merge bad d.qcow2 bad")]
    [InlineData("--remove d.qcow2 bad")]
    [InlineData("--remove --add --merge good d.qcow2 bad")]
    [InlineData("--add nosuch x")]
    [InlineData("--add -F qcow2 a.qcow2 x")]
    [InlineData("--add -b b.qcow2 a.qcow2 x")]
    [InlineData("--clear -g 512 a.qcow2 y")]
    [InlineData("--add a.qcow2")]
    [InlineData("--add")]
    [InlineData("--add a.qcow2 x y")]
    [InlineData("--add -- a.qcow2 --add")]
    [InlineData("--remove -- c.qcow2 -dash")]
    [InlineData("--merge -dash c.qcow2 fine")]
    public async Task IsQemuImgs(string line)
    {
        Qemu.Require();
        string[] arguments = line.Split(' ');
        await CompareAsync(arguments, [.. arguments.Where(static a => a.EndsWith(".qcow2", StringComparison.Ordinal))]);
    }

    [Theory]
    [InlineData("")]
    [InlineData(1023)]
    [InlineData(1024)]
    [InlineData("ä b\tc")]
    [InlineData("\u001b[31m")]
    public async Task NamesAreQemuImgs(object name)
    {
        Qemu.Require();
        await CompareAsync(["--add", "a.qcow2", name as string ?? new string('n', (int)name)], ["a.qcow2"]);
    }

    [Theory]
    [InlineData("", "Need at least one of --add, --remove, --clear, --enable, --disable, --merge, --rename, or --remove-all")]
    [InlineData("a.qcow2 x", "Need at least one of --add, --remove, --clear, --enable, --disable, --merge, --rename, or --remove-all")]
    [InlineData("--add -f foo a.qcow2 x", "Unknown driver 'foo'; the formats are qcow2 and raw")]
    [InlineData(
        "--add -f qcow2 r.raw x",
        "'r.raw': header: magic at offset 0x0 is 0x0, allowed: 0x514649fb: this is no qcow2 image [header-magic]")]
    [InlineData("--merge", "Required argument missing for option: '--merge'.")]
    public async Task WhatIsSaidInOtherWordsHasTheSameExitCode(string line, string message)
    {
        Qemu.Require();
        string[] arguments = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        await PrepareAsync(arguments);

        ProcessResult theirs = await Qemu.ImgAsync(["bitmap", .. In(_theirs, arguments)]);
        ProcessResult ours = await Support.Cli.RunAsync(["bitmap", .. In(_ours, arguments)]);

        Assert.Equal(theirs.ExitCode, ours.ExitCode);
        Assert.Equal($"qcow2bitmaps: {message}", ours.Error.Replace(_ours.Path + "/", "", StringComparison.Ordinal).Split('\n')[0]);
        await AssertUntouchedAsync(arguments);
    }

    [Fact]
    public async Task ALaterStepThatFailsLeavesAllAsItWas()
    {
        Qemu.Require();
        string[] arguments = ["--add", "--merge", "y", "--merge", "nosuch", "a.qcow2", "new"];
        await PrepareAsync(arguments);

        ProcessResult ours = await Support.Cli.RunAsync(["bitmap", .. In(_ours, arguments)]);

        Assert.Equal(
            (1, "qcow2bitmaps: Operation merge on bitmap new failed: Dirty bitmap 'nosuch' not found\n"), (ours.ExitCode, ours.Error));
        await AssertUntouchedAsync(arguments);
        // What qemu-img does is the reason for this test.
        Assert.Equal(1, (await Qemu.ImgAsync(["bitmap", .. In(_theirs, arguments)])).ExitCode);
        Assert.Contains((await new QemuNode(_theirs.File("a.qcow2")).ListAsync()), static bitmap => bitmap.Name == "new");
    }

    [Fact]
    public async Task RenameGivesTheNameToTheStepsBehindIt()
    {
        Qemu.Require();
        await PrepareAsync(["c.qcow2"]);
        string path = _ours.File("c.qcow2");
        IReadOnlyList<DirtyExtent> fine = await new QemuNode(path).ReadExtentsAsync("fine");

        ProcessResult renamed = await Support.Cli.RunAsync("bitmap", "--rename", "new", "--disable", path, "fine");
        ProcessResult taken = await Support.Cli.RunAsync("bitmap", "--rename", "coarse", path, "new");
        ProcessResult empty = await Support.Cli.RunAsync("bitmap", "--rename", "", path, "new");
        ProcessResult missing = await Support.Cli.RunAsync("bitmap", "--rename", "other", path, "fine");

        Assert.Equal((0, "", ""), (renamed.ExitCode, renamed.Output, renamed.Error));
        Assert.Equal(
            (1, "qcow2bitmaps: Operation rename on bitmap new failed: Bitmap already exists: coarse\n"), (taken.ExitCode, taken.Error));
        Assert.Equal(
            (1, "qcow2bitmaps: Operation rename on bitmap new failed: Bitmap name cannot be empty\n"), (empty.ExitCode, empty.Error));
        Assert.Equal(
            (1, "qcow2bitmaps: Operation rename on bitmap fine failed: Dirty bitmap 'fine' not found\n"),
            (missing.ExitCode, missing.Error));
        IReadOnlyList<StoredBitmap> list = await new QemuNode(path).ListAsync();
        Assert.Equal(
            [("new", BitmapFlags.None), ("coarse", BitmapFlags.Auto), ("-dash", BitmapFlags.Auto)],
            list.Select(static b => (b.Name, b.Flags)));
        Assert.Equal(fine, await new QemuNode(path).ReadExtentsAsync("new"));
    }

    [Fact]
    public async Task RemoveAllNeedsNoNameAndTakesInconsistentOnesToo()
    {
        Qemu.Require();
        await PrepareAsync(["d.qcow2", "a.qcow2"]);
        string path = _ours.File("d.qcow2");

        ProcessResult removed = await Support.Cli.RunAsync("bitmap", "--remove-all", path);
        ProcessResult again = await Support.Cli.RunAsync("bitmap", "--remove-all", path);
        ProcessResult added = await Support.Cli.RunAsync("bitmap", "--remove-all", "--add", _ours.File("a.qcow2"), "y");
        ProcessResult nameless = await Support.Cli.RunAsync("bitmap", "--remove-all", "--add", _ours.File("a.qcow2"));

        Assert.Equal((0, "", 0, ""), (removed.ExitCode, removed.Error, again.ExitCode, again.Error));
        Assert.Equal((0, 1, "qcow2bitmaps: Expecting filename and bitmap name\n"), (added.ExitCode, nameless.ExitCode, nameless.Error));
        Assert.Empty(await new QemuNode(path).ListAsync());
        Assert.Equal(["y"], (await new QemuNode(_ours.File("a.qcow2")).ListAsync()).Select(static bitmap => bitmap.Name));
        Assert.Equal(0, (await new QemuNode(path).CheckAsync()).ExitCode);
    }

    [Fact]
    public async Task JsonListsTheBitmapsAsInfoDoes()
    {
        Qemu.Require();
        await PrepareAsync(["d.qcow2"]);
        string path = _ours.File("d.qcow2");

        ProcessResult result = await Support.Cli.RunAsync("bitmap", "--add", "--disable", "-g", "4k", "--output", "json", path, "new");
        ProcessResult refused = await Support.Cli.RunAsync("bitmap", "--add", "--output=json", path, "new");

        Assert.Equal(0, result.ExitCode);
        JsonElement root = JsonDocument.Parse(result.OutputBytes).RootElement;
        Assert.Equal(path, root.GetProperty("filename").GetString());
        using var info = JsonDocument.Parse(await Qemu.ImgOkAsync("info", "--output=json", path));
        JsonElement expected = info.RootElement.GetProperty("format-specific").GetProperty("data").GetProperty("bitmaps");
        Assert.True(JsonElement.DeepEquals(expected, root.GetProperty("bitmaps")), result.Output);
        Assert.Equal((1, ""), (refused.ExitCode, refused.Output));
    }

    [Theory]
    [InlineData("--add", "x")]
    [InlineData("--remove", "y")]
    [InlineData("--remove-all", null)]
    public async Task AnImageThatAnotherProcessHasOpenIsRefusedUnharmed(string step, string? name)
    {
        Qemu.Require();
        await PrepareAsync(["a.qcow2", "c.qcow2"]);
        string path = _ours.File("a.qcow2");
        string[] arguments = [step, path, .. name is null ? Array.Empty<string>() : [name]];
        foreach (string[] options in new string[][] { [], ["-r"] })
        {
            await using var holder = await QemuIoHolder.StartAsync(path, options);
            byte[] held = await File.ReadAllBytesAsync(path, Token);

            ProcessResult result = await Support.Cli.RunAsync(["bitmap", .. arguments]);

            Assert.Equal(1, result.ExitCode);
            Assert.Contains("lock", result.Error, StringComparison.Ordinal);
            Assert.Equal(held, await File.ReadAllBytesAsync(path, Token));
            if (name is not null)
            {
                Assert.Equal(
                    (await Qemu.ImgAsync(["bitmap", .. arguments])).Error.Replace("qemu-img", "qcow2bitmaps", StringComparison.Ordinal),
                    result.Error);
            }
        }

        // As the source of a merge too.
        string source = _ours.File("c.qcow2");
        await using var writer = await QemuIoHolder.StartAsync(source);
        byte[] before = await File.ReadAllBytesAsync(path, Token);
        Assert.Equal(1, (await Support.Cli.RunAsync("bitmap", "--merge", "fine", "-b", source, path, "y")).ExitCode);
        Assert.Equal(before, await File.ReadAllBytesAsync(path, Token));
    }

    [Fact]
    public async Task NamesThatAreNotUtf8ArriveAsTheyAre()
    {
        Qemu.Require();
        await PrepareAsync(["a.qcow2"]);
        string image = _ours.File("a.qcow2");
        string tool = $"{Tool.ShellCommand} bitmap";

        ProcessResult disabled = await Qemu.RunAsync(
            "bash", null, "-c", $"qemu-img bitmap --add -- {image} $'-\\xff\\xc3x' && {tool} --disable -- {image} $'-\\xff\\xc3x'");
        ProcessResult info = await Qemu.ImgAsync("info", image);
        ProcessResult renamed = await Qemu.RunAsync("bash", null, "-c", $"{tool} --rename sane -- {image} $'-\\xff\\xc3x'");
        ProcessResult refused = await Qemu.RunAsync("bash", null, "-c", $"{tool} --add {image} $'\\xfe'");

        Assert.Equal(0, disabled.ExitCode);
        Assert.Contains("[bitmap-name]", disabled.Error, StringComparison.Ordinal);
        Assert.Contains(
            "[1]:\n            flags:\n            name: -\xff\xc3x\n", Encoding.Latin1.GetString(info.OutputBytes),
            StringComparison.Ordinal);
        Assert.Equal(0, renamed.ExitCode);
        Assert.Equal(["y", "sane"], (await new QemuNode(image).ListAsync()).Select(static bitmap => bitmap.Name));
        // QEMU takes any bytes; names that are made here are UTF-8.
        Assert.Equal(
            (1, "qcow2bitmaps: Operation add on bitmap \\xfe failed: A bitmap's name must be UTF-8\n"), (refused.ExitCode, refused.Error));
    }

    /// <summary>Gives both sides the images that are named.</summary>
    private async Task PrepareAsync(IEnumerable<string> arguments)
    {
        foreach ((string name, byte[] bytes) in await BitmapCommandImages.NamedByAsync(arguments))
        {
            _theirs.Write(name, bytes);
            _ours.Write(name, bytes);
        }
    }

    private static string[] In(TempFolder folder, string[] arguments) =>
        [
            .. arguments.Select(argument =>
                argument.EndsWith(".qcow2", StringComparison.Ordinal) || argument is "r.raw" ? folder.File(argument) : argument)];

    private async Task AssertUntouchedAsync(IEnumerable<string> arguments)
    {
        foreach ((string name, byte[] bytes) in await BitmapCommandImages.NamedByAsync(arguments))
        {
            Assert.Equal(bytes, await File.ReadAllBytesAsync(_ours.File(name), Token));
        }
    }

    private async Task CompareAsync(string[] arguments, string[] images)
    {
        await PrepareAsync(arguments);
        ProcessResult theirs = await Qemu.ImgAsync(["bitmap", .. In(_theirs, arguments)]);
        ProcessResult ours = await Support.Cli.RunAsync(["bitmap", .. In(_ours, arguments)]);

        Assert.Equal(Normalize(theirs.Error, _theirs), Normalize(ours.Error, _ours));
        Assert.Equal((theirs.ExitCode, ""), (ours.ExitCode, ours.Output));
        if (ours.ExitCode != 0)
        {
            await AssertUntouchedAsync(arguments);
            return;
        }

        foreach (string name in images.Distinct())
        {
            var node = new QemuNode(_ours.File(name));
            Assert.Equal(await new QemuNode(_theirs.File(name)).ListAsync(), await node.ListAsync());
            Assert.Equal(0, (await node.CheckAsync()).ExitCode);
            await using Qcow2Image expected = await Qcow2Image.OpenAsync(_theirs.File(name), cancellationToken: Token);
            foreach (BitmapInfo bitmap
                in expected.Bitmaps.Where(static bitmap => bitmap.State != BitmapState.Inconsistent && bitmap.Name[0] != '-'))
            {
                DirtyBitmap bits = await expected.Bitmaps.LoadAsync(bitmap, cancellationToken: Token);
                Assert.Equal([.. bits.Extents(includeClean: true)], await ReadAsync(_ours.File(name), bitmap.Name));
            }
        }
    }

    private static async Task<IReadOnlyList<DirtyExtent>> ReadAsync(string path, string bitmap)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        return [.. (await image.Bitmaps.LoadAsync(bitmap, cancellationToken: Token)).Extents(includeClean: true)];
    }

    /// <summary>
    /// Evens out what differs on purpose: the tool's name, QEMU's names of nodes, and that it says twice what it could not open.
    /// </summary>
    private static string Normalize(string error, TempFolder folder)
    {
        string text = error.Replace("qemu-img", "TOOL", StringComparison.Ordinal).Replace(
            "qcow2bitmaps:", "TOOL:", StringComparison.Ordinal)
            .Replace("'qcow2bitmaps bitmap", "'TOOL", StringComparison.Ordinal).Replace(folder.Path + "/", "", StringComparison.Ordinal);
        return NodeNames().Replace(OpenedTwice().Replace(text, "${once}"), "NODE:");
    }

    [GeneratedRegex("(?<=persistent in |persistent bitmaps to )[^ ]*:", RegexOptions.None, Patience.PatternMilliseconds)]
    private static partial Regex NodeNames();

    [GeneratedRegex(@"(?<once>Could not open '[^']*': )\k<once>", RegexOptions.None, Patience.PatternMilliseconds)]
    private static partial Regex OpenedTwice();
}
