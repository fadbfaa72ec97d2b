using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>A rebase onto another disk's image that holds a bitmap of the same name as one that leaves.</summary>
public sealed class DroppedBitmapTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>In version 3 the top says that the bitmap's bits are lost; version 2 cannot.</summary>
    [Theory]
    [InlineData("rebase")]
    [InlineData("chain rebase")]
    public async Task ATopOfVersion2IsRefusedAndNothingIsWritten(string verb)
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        string top = folder.File("top.qcow2");
        foreach (string name in new[] { "old", "other" })
        {
            string image = folder.File(name + ".qcow2");
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", image, "4M");
            await Qemu.ImgOkAsync("bitmap", "--add", image, "b");
            await Qemu.IoOkAsync(image, "write -P 3 1M 64k");
        }

        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", "compat=0.10", "-b", "old.qcow2", "-F", "qcow2", top);
        await Qemu.IoOkAsync(top, "write -P 5 2M 64k");
        Dictionary<string, byte[]> before = await ReadAsync(folder);

        ProcessResult result = await Support.Cli.RunAsync([.. verb.Split(' '), "-b", "other.qcow2", "-F", "qcow2", top]);

        Assert.Equal(1, result.ExitCode);
        Assert.Contains("Bitmap 'b' is lost with the images that leave the chain", result.Error, StringComparison.Ordinal);
        Assert.Contains(
            "is of version 2 and cannot say that bits are lost; delete the bitmap first", result.Error, StringComparison.Ordinal);
        Assert.Equal(before, await ReadAsync(folder));

        // As it says.
        await Support.Cli.OkAsync("bitmap", "--remove", folder.File("old.qcow2"), "b");
        await Support.Cli.OkAsync([.. verb.Split(' '), "-b", "other.qcow2", "-F", "qcow2", top]);
    }

    private static async Task<Dictionary<string, byte[]>> ReadAsync(TempFolder folder)
    {
        var files = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (string path in Directory.GetFiles(folder.Path))
        {
            files.Add(path, await File.ReadAllBytesAsync(path, Token));
        }

        return files;
    }
}
