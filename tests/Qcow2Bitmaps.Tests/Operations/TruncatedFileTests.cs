using Qcow2Bitmaps.Qmp;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// A chain of which a file was not copied whole: its own verbs refuse and write nothing, those of qemu-img go on and warn.
/// </summary>
public sealed class TruncatedFileTests : IDisposable
{
    private const string Hint = "was probably not copied whole";

    private readonly TempFolder _folder = TempFolder.InMemory();

    /// <summary>Verbs, with {b} for the base, {m} for the image above it, {t} for the top, {n} for a file that is not there.</summary>
    public static TheoryData<string, bool> Verbs => new()
    {
        { "chain commit {t} {m}", true },
        { "chain commit --keep {m} {b}", true },
        { "chain pull {t}", true },
        { "chain pull --base {b} {t}", true },
        { "chain rebase -b base.qcow2 -F qcow2 {t}", true },
        { "chain rebase -b % {t}", true },
        { "chain flatten {t} {n}", true },
        { "chain flatten -c {t} {n}", true },
        { "chain populate {t} lost", true },
        { "chain populate {t} new --since chk", true },
        { "chain delete {t} chk", true },
        { "chain prune {t}", true },
        { "chain reconcile --drop {t}", true },
        { "chain measure --commit {b} {t}", true },
        { "chain measure --pull {t}", true },
        { "backup full {t} {n}", true },
        { "backup full --checkpoint new {t} {n}", true },
        { "chain snapshot {t} {n}", false },
        { "chain check {t}", false },
        { "convert -O raw {t} {n}", false },
        { "convert -O qcow2 {t} {n}", false },
        { "commit {t}", false },
        { "commit -d {t}", false },
        { "commit -b {b} {t}", false },
        { "rebase -b base.qcow2 -F qcow2 {t}", false },
        { "rebase -b % {t}", false },
        { "compare {t} {t}", false },
        { "measure -O qcow2 {t}", false },
        { "map {t}", false },
        { "check {b}", false },
        { "check -r all {b}", false },
        { "resize {b} 16M", false },
        { "bitmap --add {b} new", false },
        { "snapshot -c new {b}", false },
    };

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Verbs))]
    public async Task ChainVerbsRefuseAndThoseOfQemuWarn(string verb, bool isRefused)
    {
        await MakeAsync();
        Cut("base.qcow2", 4 << 20);
        FolderContent before = FolderContent.Of(_folder.Path);

        ProcessResult result = await RunAsync(verb);

        Assert.Contains(Hint, result.Error, StringComparison.Ordinal);
        Assert.Contains("0x400000", result.Error, StringComparison.Ordinal);
        if (isRefused)
        {
            Assert.Equal(1, result.ExitCode);
            before.AssertSame();
        }
        else
        {
            Assert.Contains("warning: ", result.Error, StringComparison.Ordinal);
            Assert.Equal(await ExpectedExitAsync(verb), result.ExitCode);
        }
    }

    /// <summary>Whole chains are not complained about.</summary>
    [Theory]
    [MemberData(nameof(Verbs))]
    public async Task WholeChainsAreNotComplainedAbout(string verb, bool isRefused)
    {
        await MakeAsync();

        ProcessResult result = await RunAsync(verb);

        Assert.DoesNotContain(Hint, result.Error, StringComparison.Ordinal);
        Assert.True(
            result.ExitCode == 0
                || !isRefused
                || verb.Contains("reconcile", StringComparison.Ordinal)
                || verb.Contains("lost", StringComparison.Ordinal),
            result.Error);
    }

    [Theory]
    [InlineData("convert -O raw {t} {n}", 0)]
    [InlineData("compare {t} {t}", 0)]
    [InlineData("commit -d {t}", 0)]
    [InlineData("chain flatten {t} {n}", 1)]
    [InlineData("chain pull {t}", 1)]
    [InlineData("backup full {t} {n}", 1)]
    public async Task ADataFileIsLookedAtToo(string verb, int exitCode)
    {
        Qemu.Require();
        await Qemu.ImgOkAsync(
            "create", "-q", "-f", "qcow2", "-o", $"data_file={_folder.File("data.raw")},data_file_raw=on", _folder.File("base.qcow2"),
            "8M");
        await Qemu.IoOkAsync(_folder.File("base.qcow2"), "write -P 1 0 8M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", _folder.File("top.qcow2"));
        Cut("data.raw", 4 << 20);

        ProcessResult result = await RunAsync(verb);

        Assert.Equal(exitCode, result.ExitCode);
        Assert.Contains("external data file", result.Error, StringComparison.Ordinal);
        Assert.Contains(Hint, result.Error, StringComparison.Ordinal);
    }

    /// <summary>A cut compressed cluster ends the reading, as in qemu-img; the message says all that is known.</summary>
    [Fact]
    public async Task ACutCompressedClusterIsNamed()
    {
        Qemu.Require();
        string raw = _folder.File("disk.raw");
        byte[] bytes = new byte[1 << 20];
        new SplitMix(1).Fill(bytes);
        // Bytes of four values: they compress to about a quarter.
        _folder.Write("disk.raw", [.. bytes.Select(static b => (byte)(b & 3))]);
        await Qemu.ImgOkAsync("convert", "-c", "-f", "raw", "-O", "qcow2", raw, _folder.File("image.qcow2"));
        Cut("image.qcow2", 0x60000);

        ProcessResult theirs = await Qemu.ImgAsync("convert", "-O", "raw", _folder.File("image.qcow2"), _folder.File("theirs.raw"));
        ProcessResult ours = await Support.Cli.RunAsync("convert", "-O", "raw", _folder.File("image.qcow2"), _folder.File("ours.raw"));

        Assert.Equal(1, theirs.ExitCode);
        Assert.Equal(1, ours.ExitCode);
        Assert.Matches(
            @"compressed cluster at byte \d+ of the disk: data at offset 0x[0-9a-f]+ is cut off by the file's end after \d+ of at most "
            + @"\d+ bytes, .*the file was probably not copied whole",
            ours.Error);
    }

    [Fact]
    public async Task TheQmpServerWarns()
    {
        await MakeAsync();
        Cut("base.qcow2", 4 << 20);
        var warnings = new List<string>();

        await using QmpServer server = await QmpServer.OpenAsync(
            [new QmpImage("disk", _folder.File("top.qcow2"))], warnings.Add, cancellationToken: TestContext.Current.CancellationToken);

        Assert.Contains(Hint, Assert.Single(warnings), StringComparison.Ordinal);
    }

    private async Task MakeAsync()
    {
        Qemu.Require();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", _folder.File("base.qcow2"), "8M");
        await Qemu.IoOkAsync(_folder.File("base.qcow2"), "write -P 1 0 8M");
        foreach ((string image, string below) in new[] { ("middle.qcow2", "base.qcow2"), ("top.qcow2", "middle.qcow2") })
        {
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", _folder.File(image));
            await Qemu.ImgOkAsync("bitmap", "--add", _folder.File(image), image is "top.qcow2" ? "chk" : "lost");
            await Qemu.IoOkAsync(_folder.File(image), image is "top.qcow2" ? "write -P 3 1M 64k" : "write -P 2 2M 64k");
        }
    }

    private Task<ProcessResult> RunAsync(string verb) => Support.Cli.RunAsync([.. verb.Split(' ').Select(Filled)]);

    private string Filled(string word) => word switch
    {
        "%" => "",
        "{b}" => _folder.File("base.qcow2"),
        "{m}" => _folder.File("middle.qcow2"),
        "{t}" => _folder.File("top.qcow2"),
        "{n}" => _folder.File("new"),
        _ => word,
    };

    /// <summary>That of qemu-img, where it has the verb.</summary>
    private async Task<int> ExpectedExitAsync(string verb)
    {
        string[] words = [.. verb.Split(' ').Select(Filled)];
        switch (words[0])
        {
            case "chain" when words[1] is "check":
                return 2;
            case "chain":
                return 0;
        }

        foreach (string file in Directory.EnumerateFiles(_folder.Path))
        {
            File.Delete(file);
        }

        await MakeAsync();
        Cut("base.qcow2", 4 << 20);
        return (await Qemu.RunAsync("qemu-img", _folder.Path, words)).ExitCode;
    }

    private void Cut(string name, long length)
    {
        using FileStream file = File.OpenWrite(_folder.File(name));
        file.SetLength(length);
    }
}
