using System.Globalization;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>Chains that QEMU makes, for tests of commands.</summary>
internal sealed class CommandChains(TempFolder folder)
{
    /// <summary>Three images that all hold bitmap "all"; the top one holds "top" too.</summary>
    public async Task<string[]> MakeChainAsync(string name)
    {
        string[] images = [.. Enumerable.Range(0, 3)
            .Select(i => folder.File(string.Create(CultureInfo.InvariantCulture, $"{name}-{i}.qcow2")))];
        for (int i = 0; i < images.Length; i++)
        {
            string[] backing = i == 0 ? [] : ["-b", Path.GetFileName(images[i - 1]), "-F", "qcow2"];
            await Qemu.ImgOkAsync(["create", "-q", "-f", "qcow2", .. backing, images[i], i == 0 ? "3M" : "4M"]);
            await Qemu.ImgOkAsync("bitmap", "--add", images[i], "all");
            await Qemu.IoOkAsync(
                images[i], $"write -P {i + 1} {i * 512}k 1M", $"write -z {(i * 512) + 100}k 64k", $"write -P {i + 9} 2900k 100k");
        }

        await Qemu.ImgOkAsync("bitmap", "--add", images[^1], "top");
        await Qemu.IoOkAsync(images[^1], "write -P 99 2M 64k");
        return images;
    }

    /// <summary>A checkpoint in the base, an overlay that QEMU crashed with, and an overlay without bitmaps.</summary>
    public async Task<(string[] Images, byte[] AtCheckpoint)> MakeBrokenChainAsync()
    {
        string[] images = [folder.File("base.qcow2"), folder.File("mid.qcow2"), folder.File("top.qcow2")];
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", images[0], "8M");
        await Qemu.IoOkAsync(images[0], "write -P 1 0 2M");
        await Qemu.ImgOkAsync("bitmap", "--add", images[0], "a");
        byte[] atCheckpoint = await ReadAsync(images[0]);
        await Qemu.IoOkAsync(images[0], "write -P 2 1M 128k");
        await Support.Cli.OkAsync("chain", "snapshot", images[0], images[1]);
        await Qemu.IoOkAsync(images[1], "write -P 3 4M 64k", "write -z 0 64k");
        await new QemuNode(images[1]).CrashAsync();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", images[2]);
        await Qemu.IoOkAsync(images[2], "write -P 4 5M 64k", "discard 1M 64k");
        return (images, atCheckpoint);
    }

    /// <summary>What the guest sees of an image.</summary>
    public async Task<byte[]> ReadAsync(string image)
    {
        string raw = folder.File("view.raw");
        await Qemu.ImgOkAsync("convert", "-O", "raw", image, raw);
        return await File.ReadAllBytesAsync(raw, TestContext.Current.CancellationToken);
    }
}
