using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>Copying on a file system whose files can share blocks: the same bytes as anywhere, and no space for them.</summary>
public sealed class ReflinkTests
{
    private const long DataBytes = 40 << 20;

    [Theory]
    [InlineData("raw", "")]
    [InlineData("qcow2", "cluster_size=64k")]
    [InlineData("qcow2", "cluster_size=4k")]
    [InlineData("qcow2", "cluster_size=2M,extended_l2=on")]
    [InlineData("qcow2", "compat=0.10")]
    public async Task ConvertSharesDataWithTheSource(string format, string options)
    {
        Qemu.Require();
        using ReflinkFolder folder = await ReflinkFolder.MountAsync();
        string top = await MakeChainAsync(folder);
        long before = await UsedAsync(folder);
        string[] create = options.Length > 0 ? ["-o", options] : [];
        await Support.Cli.OkAsync(["convert", "-O", format, .. create, top, folder.File("shared")]);
        await Qemu.ImgOkAsync("compare", "-F", format, top, folder.File("shared"));
        long used = await UsedAsync(folder) - before;
        Assert.True(!folder.SharesBlocks || used < DataBytes / 2, $"{used} bytes");
        await Support.Cli.OkAsync(["convert", "--no-reflink", "-O", format, .. create, top, folder.File("copied")]);
        await Qemu.ImgOkAsync("compare", "-F", format, top, folder.File("copied"));
        used = await UsedAsync(folder) - before - used;
        Assert.True(!folder.SharesBlocks || used >= DataBytes, $"{used} bytes");

        // What is written to one does not show in the other.
        await Qemu.IoOkAsync(top, "write -P 99 0 8M", "discard 9M 3M");
        await Qemu.ImgOkAsync("compare", "-f", format, "-F", format, folder.File("shared"), folder.File("copied"));
        if (format == "qcow2")
        {
            await Qemu.ImgOkAsync("check", folder.File("shared"));
        }
    }

    [Theory]
    [InlineData("commit")]
    [InlineData("pull")]
    [InlineData("flatten")]
    public async Task ChainOperationsShareDataWithTheImagesTheyRead(string operation)
    {
        Qemu.Require();
        using ReflinkFolder folder = await ReflinkFolder.MountAsync();
        string top = await MakeChainAsync(folder);
        string copy = folder.File("copy.raw");
        await Qemu.ImgOkAsync("convert", "-O", "raw", top, copy);
        long before = await UsedAsync(folder);
        string result = operation switch
        {
            "commit" => folder.File("base.qcow2"),
            "pull" => top,
            _ => folder.File("flat.qcow2"),
        };
        await Support.Cli.OkAsync(operation switch
        {
            "commit" => ["chain", "commit", "--keep", top, result],
            "pull" => ["chain", "pull", top],
            _ => ["chain", "flatten", top, result],
        });
        await Qemu.ImgOkAsync("compare", "-F", "raw", result, copy);
        await Qemu.ImgOkAsync("check", result);
        long used = await UsedAsync(folder) - before;
        Assert.True(!folder.SharesBlocks || used < DataBytes / 2, $"{used} bytes");
    }

    [Fact]
    public async Task BackupsShareNothing()
    {
        Qemu.Require();
        using ReflinkFolder folder = await ReflinkFolder.MountAsync();
        string top = await MakeChainAsync(folder);
        long before = await UsedAsync(folder);
        await Support.Cli.OkAsync("backup", "full", top, folder.File("full"));
        long used = await UsedAsync(folder) - before;
        Assert.True(!folder.SharesBlocks || used >= DataBytes, $"{used} bytes");
        before = await UsedAsync(folder);
        await Support.Cli.OkAsync("backup", "restore", folder.File("full.backup.json"), folder.File("restored"));
        used = await UsedAsync(folder) - before;
        Assert.True(!folder.SharesBlocks || used >= DataBytes, $"{used} bytes");
    }

    private static async Task<long> UsedAsync(ReflinkFolder folder)
    {
        await folder.SyncAsync();
        return folder.UsedBytes;
    }

    /// <summary>Two images with data in long runs, pieces that end anywhere, zeros, and compressed clusters.</summary>
    private static async Task<string> MakeChainAsync(ReflinkFolder folder)
    {
        string @base = folder.File("base.qcow2");
        string top = folder.File("top.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", @base, "100M");
        await Qemu.IoOkAsync(
            @base, "write -P 1 0 24M", "write -P 2 30000k 777", "write -z 2M 1M", "write -c -P 3 60M 1M", "write -P 4 99M 1M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", top);
        await Qemu.IoOkAsync(top, "write -P 5 40M 20M", "write -P 6 1000k 100k", "write -z 5M 70000", "write -P 7 12345678 4321");
        return top;
    }
}
