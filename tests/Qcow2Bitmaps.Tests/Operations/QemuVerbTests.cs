using Qcow2Bitmaps.Images;
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

    /// <summary>What a standalone image does not have reads as zeros, also over a backing file that has something there. Version 2 has no entries for that.</summary>
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
        await Qemu.ImgOkAsync(["create", "-q", "-f", "qcow2", "-o", $"compat={compat},cluster_size=4k", .. old.Length == 0 ? Array.Empty<string>() : ["-b", old, "-F", "qcow2"], image, "4M"]);
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
            [.. verb.Split(' '), .. verb == "rebase -u" ? ["-b", Path.GetFileName(images[1]), "-F", "qcow2"] : Array.Empty<string>(), images[^1]];

        ProcessResult expected = await Qemu.RunAsync("qemu-img", _folder.Path, Command(theirs));
        ProcessResult actual = await Support.Cli.RunAsync(Command(ours));

        Assert.Equal((expected.ExitCode, expected.Output), (actual.ExitCode, actual.Output));
        Assert.Equal(warns, actual.Error.Contains("other.qcow2", StringComparison.Ordinal));
        Assert.Equal(warns, actual.Error.Contains("warning", StringComparison.Ordinal));
    }
}
