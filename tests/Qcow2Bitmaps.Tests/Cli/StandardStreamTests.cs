using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>Standard streams that are closed, or that nobody reads.</summary>
public sealed class StandardStreamTests : IDisposable
{
    private readonly TempFolder _folder = TempFolder.InMemory();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    /// <summary>The image would be opened under the number of a standard stream, and a warning overwrite its header.</summary>
    [Theory]
    [InlineData("0<&- 1>&- 2>&-")]
    [InlineData("0<&- 1>&-")]
    [InlineData("1>&- 2>&-")]
    [InlineData("2>&-")]
    public async Task NothingIsWrittenToAnImageInPlaceOfAClosedStream(string closed)
    {
        Qemu.Require();
        string bottom = _folder.File("base.qcow2");
        string top = _folder.File("top.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", bottom, "4M");
        await Qemu.IoOkAsync(bottom, "write -P 5 0 4M");
        // The tool warns of a top that is shorter.
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", bottom, "-F", "qcow2", top, "2M");

        await Qemu.RunAsync("bash", _folder.Path, "-c", $"{Tool.ShellCommand} chain pull -p top.qcow2 {closed}");

        await Qemu.ImgOkAsync("check", "-q", top);
        await Qemu.IoOkAsync(top, "read -P 5 0 2M");
        byte[] start = (await File.ReadAllBytesAsync(top, Token))[..4];
        Assert.Equal([.. "QFI"u8, 0xfb], start);
    }

    [Fact]
    public async Task APipeThatNobodyReadsIsNoFailure()
    {
        Qemu.Require();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", _folder.File("a.qcow2"), "1M");

        ProcessResult result = await Qemu.RunAsync(
            // The only reader of the pipe is gone before the tool starts.
            "bash", _folder.Path, "-c", $"mkfifo p; exec 4<>p 5>p 4<&-; {Tool.ShellCommand} info a.qcow2 >&5; echo $? >&2");

        Assert.Equal("0\n", result.Error);
    }

    /// <summary>Names of protocols may be longer than those of files.</summary>
    [Fact]
    public async Task ALongProtocolNameIsStored()
    {
        Qemu.Require();
        string image = _folder.File("a.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", image, "1M");
        string name = "json:{\"driver\":\"null-co\",\"node-name\":\"" + new string('n', 300) + "\"}";

        await Support.Cli.OkAsync("rebase", "-u", "-b", name, "-F", "raw", image);

        await using Qcow2Image opened = await Qcow2Image.OpenAsync(image, cancellationToken: Token);
        Assert.Equal(name, opened.BackingFile);
    }
}
