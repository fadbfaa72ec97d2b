using Qcow2Bitmaps.Tests.Cli;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Chains;

/// <summary>Backing formats that name a driver below that of raw images: QEMU reads the disk's bytes as they are, and so do we.</summary>
public sealed class RawDriverTests
{
    // No whole cluster: what lies behind the base's end are zeros.
    private const int BaseBytes = (1 << 20) + 512;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("file")]
    [InlineData("host_device")]
    public async Task TheBackingFileIsReadAsRaw(string format)
    {
        Qemu.Require();
        using var devices = new LoopDevices();
        using var folder = TempFolder.InMemory();
        string @base = folder.Write("base", ForeignRawDisk.RandomBytes(BaseBytes));
        @base = format == "file" ? @base : await devices.AttachAsync(@base);
        string top = folder.File("top.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", @base, "-F", format, top, "2M");
        await Qemu.IoOkAsync(top, "write -P 7 64k 64k");
        string[] allow = ["--allow-backing", "/dev"];

        await Support.Cli.OkAsync(["convert", "-O", "raw", .. allow, top, folder.File("ours")]);
        await Qemu.ImgOkAsync("convert", "-O", "raw", top, folder.File("theirs"));
        byte[] bytes = await File.ReadAllBytesAsync(folder.File("theirs"), Token);
        Assert.Equal(bytes, await File.ReadAllBytesAsync(folder.File("ours"), Token));
        string info = await Qemu.ImgOkAsync("info", "--backing-chain", top);
        Assert.Equal(
            info.Replace($"file format: {format}\nvirtual", "file format: raw\nvirtual", StringComparison.Ordinal),
            await Support.Cli.OkAsync(["info", "--backing-chain", .. allow, top]));

        // Made and rebased here it reads the same to QEMU.
        string made = folder.File("made.qcow2");
        await Support.Cli.OkAsync(["create", "-q", "-f", "qcow2", "-b", @base, "-F", format, .. allow, made, "2M"]);
        await Qemu.IoOkAsync(made, "write -P 7 64k 64k");
        Assert.StartsWith("Images are identical", await Qemu.ImgOkAsync("compare", top, made), StringComparison.Ordinal);
        await Support.Cli.OkAsync(["rebase", "-b", "", .. allow, made]);
        await Support.Cli.OkAsync(["rebase", "-b", @base, "-F", format, .. allow, made]);
        Assert.StartsWith("Images are identical", await Qemu.ImgOkAsync("compare", top, made), StringComparison.Ordinal);

        byte[] before = await File.ReadAllBytesAsync(folder.File("base"), Token);
        ProcessResult commit = await Support.Cli.RunAsync(["commit", "-d", .. allow, top]);
        bool isVolume = format == "host_device";
        // A volume cannot grow to the overlay's size.
        Assert.Equal(isVolume ? 1 : 0, commit.ExitCode);
        Assert.Equal(
            isVolume,
            commit.Error.Contains("is too small, no space: 2097152 bytes are needed in all, 1049088 are there", StringComparison.Ordinal));
        Assert.Equal((isVolume ? before : bytes)[..BaseBytes], (await File.ReadAllBytesAsync(folder.File("base"), Token))[..BaseBytes]);
    }

    /// <summary>Drivers of other bytes are refused as before.</summary>
    [Theory]
    [InlineData("nbd")]
    [InlineData("vmdk")]
    [InlineData("compress")]
    public async Task OtherDriversAreRefused(string format)
    {
        using var folder = TempFolder.InMemory();
        folder.Write("base", new byte[BaseBytes]);
        string top = folder.File("top.qcow2");
        await Qcow2Image.CreateAsync(top, new() { SizeBytes = BaseBytes, BackingFile = "base", BackingFormat = format }, Token);

        Qcow2UnsupportedException refusal = await Assert.ThrowsAsync<Qcow2UnsupportedException>(
            () => ImageChain.OpenAsync(top, cancellationToken: Token));

        Assert.Equal(UnsupportedReason.Format, refusal.Reason);
    }
}
