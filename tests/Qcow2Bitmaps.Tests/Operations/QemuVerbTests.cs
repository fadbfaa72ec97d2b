using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary><c>commit</c> and <c>rebase</c> beside those of qemu-img.</summary>
public sealed class QemuVerbTests : IDisposable
{
    private readonly TempFolder _folder = TempFolder.InMemory();
    private readonly CommandChains _chains;

    public QemuVerbTests() => _chains = new CommandChains(_folder);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("", false)]
    [InlineData("-d", false)]
    [InlineData("-b", true)]
    public async Task CommitIsThatOfQemuAndCarriesBitmaps(string option, bool namesBase)
    {
        Qemu.Require();
        string[] ours = await _chains.MakeChainAsync("ours");
        string[] theirs = await _chains.MakeChainAsync("theirs");
        byte[] view = await _chains.ReadAsync(ours[^1]);
        string[] arguments = [.. option.Length == 0 ? [] : namesBase ? new[] { option, "BASE" } : [option]];

        ProcessResult expected = await Qemu.ImgAsync(["commit", .. arguments.Select(a => a == "BASE" ? theirs[0] : a), theirs[^1]]);
        ProcessResult actual = await Support.Cli.RunAsync(["commit", .. arguments.Select(a => a == "BASE" ? ours[0] : a), ours[^1]]);

        Assert.Equal((expected.ExitCode, expected.Output), (actual.ExitCode, actual.Output));
        for (int i = 0; i < ours.Length; i++)
        {
            Assert.Equal(await _chains.ReadAsync(theirs[i]), await _chains.ReadAsync(ours[i]));
            Assert.Equal(0, (await Qemu.ImgAsync("check", ours[i])).ExitCode);
        }

        Assert.Equal(view, await _chains.ReadAsync(ours[^1]));
        string target = namesBase ? ours[0] : ours[^2];
        await Support.Cli.OkAsync("chain", "check", target);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(target, cancellationToken: Token);
        Assert.Contains(image.Bitmaps, static bitmap => bitmap.Name == "top");
    }

    /// <summary>
    /// A name means what it means inside the image above the one that it names. What qemu-img does not find may be in the current folder.
    /// </summary>
    [Theory]
    [InlineData("", "top", "base", 0)]
    [InlineData("", "top", "sub/base", null)]
    [InlineData("", "top", "sub/mid", 1)]
    [InlineData("", "top", "./sub/../sub/mid", 1)]
    [InlineData("", "top", "mid", null)]
    [InlineData("", "top", "@sub/base", 0)]
    [InlineData("", "top", "missing", null)]
    [InlineData("", "top", "top", null)]
    [InlineData("sub", "../top", "sub/mid", 1)]
    [InlineData("sub", "../top", "mid", null)]
    [InlineData("sub", "../top", "base", 0)]
    [InlineData("sub", "../top", "../sub/mid", null)]
    public async Task ABaseIsNamedAsTheImageAboveItWould(string current, string top, string name, int? found)
    {
        Qemu.Require();
        var results = new List<ProcessResult>();
        foreach (string who in new[] { "theirs", "ours" })
        {
            string folder = Directory.CreateDirectory(_folder.File(who)).FullName;
            Directory.CreateDirectory(Path.Combine(folder, "sub"));
            await Qemu.RunAsync("qemu-img", folder, "create", "-q", "-f", "qcow2", "sub/base", "1M");
            await Qemu.RunAsync("qemu-img", folder, "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "sub/mid");
            await Qemu.RunAsync("qemu-img", folder, "create", "-q", "-f", "qcow2", "-b", "sub/mid", "-F", "qcow2", "top");
            await Qemu.IoOkAsync(Path.Combine(folder, "top"), "write -P 7 0 64k");
            string[] arguments = ["commit", "-d", "-b", name.Replace("@", folder + "/", StringComparison.Ordinal), top];
            string working = Path.Combine(folder, current);
            results.Add(
                who == "theirs"
                    ? await Qemu.RunAsync("qemu-img", working, arguments)
                    : await Tool.RunAsync(working, arguments));
        }

        bool isHere = found is null && Path.Exists(Path.Combine(_folder.File("ours"), current, name)) && name != "top";
        Assert.Equal(found is null ? 1 : 0, results[0].ExitCode);
        Assert.Equal(found is null && !isHere ? 1 : 0, results[1].ExitCode);
        if (isHere)
        {
            Assert.Contains("relative to the current folder", results[1].Error, StringComparison.Ordinal);
            return;
        }

        Assert.Equal(results[0].Output, results[1].Output);
        Assert.Equal(found is null, results[1].Error.Length > 0);
        foreach (string image in new[] { "sub/base", "sub/mid", "top" })
        {
            Assert.Equal(
                await _chains.ReadAsync(Path.Combine(_folder.File("theirs"), image)),
                await _chains.ReadAsync(Path.Combine(_folder.File("ours"), image)));
        }
    }

    [Theory]
    [InlineData("-u", 0)]
    [InlineData("-u -b other", 1)]
    [InlineData("-u -b other -F bogus", 1)]
    [InlineData("-u -b other -F ''", 1)]
    [InlineData("-u -b other -F host_device", 0)]
    [InlineData("-u -b other -F snapshot-access", 0)]
    [InlineData("", 1)]
    [InlineData("-b other -F bogus", 1)]
    [InlineData("-t bad -b ''", 1)]
    [InlineData("-T bad -b ''", 1)]
    public async Task RebaseUnderstandsAndRefusesWhatQemuDoes(string arguments, int exitCode)
    {
        Qemu.Require();
        string[] ours = await _chains.MakeChainAsync("ours");
        string[] theirs = await _chains.MakeChainAsync("theirs");
        string[] words = [.. arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(static word => word.Trim('\''))];

        ProcessResult expected = await Qemu.ImgAsync(["rebase", .. words, theirs[^1]]);
        ProcessResult actual = await Support.Cli.RunAsync(["rebase", .. words, ours[^1]]);

        Assert.Equal((exitCode, exitCode), (expected.ExitCode, actual.ExitCode));
        Assert.Equal(exitCode == 0, actual.Error.Length == 0);
        string Show(string info, string[] images) =>
            string.Join('\n', info.Split('\n').Where(static line => line.Contains("backing", StringComparison.Ordinal)))
            .Replace(images[1], "MID", StringComparison.Ordinal).Replace(Path.GetFileName(images[1]), "MID", StringComparison.Ordinal);
        Assert.Equal(Show(await Qemu.ImgOkAsync("info", theirs[^1]), theirs), Show(await Qemu.ImgOkAsync("info", ours[^1]), ours));
    }

    /// <summary>A new backing file that a machine has open is read only by consent.</summary>
    [Fact]
    public async Task RebaseReadsABackingFileThatIsInUseByConsent()
    {
        Qemu.Require();
        string[] images = await _chains.MakeChainAsync("ours");
        string other = _folder.File("other.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", other, "4M");
        await using QemuIoHolder holder = await QemuIoHolder.StartAsync(other);

        Assert.Equal(1, (await Support.Cli.RunAsync("rebase", "-b", "other.qcow2", "-F", "qcow2", images[^1])).ExitCode);
        await Support.Cli.OkAsync("rebase", "-U", "-b", "other.qcow2", "-F", "qcow2", images[^1]);
    }

    [Theory]
    [InlineData("commit -t bad", "Invalid cache option: bad")]
    [InlineData("commit -r bad", "Invalid rate limit specified.")]
    public async Task CommitRefusesWhatQemuRefuses(string arguments, string message)
    {
        string[] ours = await _chains.MakeChainAsync("ours");
        ProcessResult actual = await Support.Cli.RunAsync([.. arguments.Split(' '), ours[^1]]);

        Assert.Equal(1, actual.ExitCode);
        Assert.StartsWith("qcow2bitmaps: " + message, actual.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(-1)]
    public async Task RebaseIsThatOfQemu(int target)
    {
        Qemu.Require();
        string[] ours = await _chains.MakeChainAsync("ours");
        string[] theirs = await _chains.MakeChainAsync("theirs");
        byte[] view = await _chains.ReadAsync(ours[^1]);
        string[] To(string[] images) => target < 0 ? ["-b", ""] : ["-b", Path.GetFileName(images[target]), "-F", "qcow2"];

        ProcessResult expected = await Qemu.RunAsync("qemu-img", _folder.Path, ["rebase", .. To(theirs), theirs[^1]]);
        ProcessResult actual = await Support.Cli.RunAsync(["rebase", .. To(ours), ours[^1]]);

        Assert.Equal((expected.ExitCode, expected.Output), (actual.ExitCode, actual.Output + actual.Error));
        Assert.Equal(view, await _chains.ReadAsync(ours[^1]));
        Assert.Equal(await _chains.ReadAsync(theirs[^1]), await _chains.ReadAsync(ours[^1]));
        Assert.Equal(0, (await Qemu.ImgAsync("check", ours[^1])).ExitCode);
        await Support.Cli.OkAsync("chain", "check", ours[^1]);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(ours[^1], cancellationToken: Token);
        Assert.Equal(target < 0 ? null : Path.GetFileName(ours[target]), image.BackingFile);
    }

    /// <summary>
    /// What a standalone image does not have reads as zeros, also over a backing file that has something
    /// there. Version 2 has no entries for that.
    /// </summary>
    [Theory]
    [InlineData("0.10", "")]
    [InlineData("1.1", "")]
    [InlineData("0.10", "old.qcow2")]
    public async Task ZerosStayZerosOverANewBackingFile(string compat, string old)
    {
        Qemu.Require();
        string other = _folder.File("other.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", other, "4M");
        await Qemu.IoOkAsync(other, "write -P 77 0 4M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", _folder.File("old.qcow2"), "2M");
        string image = _folder.File("image.qcow2");
        await Qemu.ImgOkAsync(
            [
                "create",
                "-q",
                "-f",
                "qcow2",
                "-o",
                $"compat={compat},cluster_size=4k",
                .. old.Length == 0 ? Array.Empty<string>() : ["-b", old, "-F", "qcow2"],
                image,
                "4M",
            ]);
        await Qemu.IoOkAsync(image, "write -P 1 100k 300k", "write -z 1M 64k", "write -P 2 3000k 10k");
        string theirs = _folder.File("theirs.qcow2");
        File.Copy(image, theirs);
        byte[] view = await _chains.ReadAsync(image);

        await Support.Cli.OkAsync("rebase", "-b", "other.qcow2", "-F", "qcow2", image);

        Assert.Equal(view, await _chains.ReadAsync(image));
        Assert.Equal(0, (await Qemu.ImgAsync("check", image)).ExitCode);
        await Qemu.RunAsync("qemu-img", _folder.Path, "rebase", "-b", "other.qcow2", "-F", "qcow2", theirs);
        // qemu-img 7.2 lets the new backing file show through in version 2, where there was none before.
        Assert.Equal(compat == "0.10" && old.Length == 0 ? 1 : 0, (await Qemu.ImgAsync("compare", theirs, image)).ExitCode);
    }

    /// <summary>An overlay that is not part of the chain: qemu-img goes on, so its verbs do; but they say whose disk changes.</summary>
    [Theory]
    [InlineData("commit", "ours-1.qcow2", true)]
    [InlineData("commit", "ours-2.qcow2", false)]
    [InlineData("commit -q", "ours-1.qcow2", false)]
    [InlineData("rebase -u", "ours-2.qcow2", true)]
    [InlineData("rebase -u", "ours-1.qcow2", false)]
    public async Task TheVerbsOfQemuWarnOfOverlays(string verb, string below, bool warns)
    {
        Qemu.Require();
        string[] ours = await _chains.MakeChainAsync("ours");
        string[] theirs = await _chains.MakeChainAsync("theirs");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", _folder.File("other.qcow2"));
        string[] Command(string[] images) =>
            [
                .. verb.Split(' '),
                .. verb == "rebase -u" ? ["-b", Path.GetFileName(images[1]), "-F", "qcow2"] : Array.Empty<string>(),
                images[^1],
            ];

        ProcessResult expected = await Qemu.RunAsync("qemu-img", _folder.Path, Command(theirs));
        ProcessResult actual = await Support.Cli.RunAsync(Command(ours));

        Assert.Equal((expected.ExitCode, expected.Output), (actual.ExitCode, actual.Output));
        Assert.Equal(warns, actual.Error.Contains("other.qcow2", StringComparison.Ordinal));
        Assert.Equal(warns, actual.Error.Contains("warning", StringComparison.Ordinal));
    }
}
