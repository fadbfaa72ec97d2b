using Qcow2Bitmaps.Images.Resizing;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Resizing;

/// <summary>
/// A resize that is stopped at any moment leaves the image as before or as after, with whole bitmaps, and a check finds nothing.
/// </summary>
public sealed class ResizeCrashTests
{
    private static readonly Qcow2ResizeOptions s_mayShrink = new() { AllowShrink = true };

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("cluster_size=512", "")]
    [InlineData("cluster_size=512,refcount_bits=1", "")]
    [InlineData("cluster_size=1k,refcount_bits=64", "a name of some length")]
    [InlineData("cluster_size=4k", "")]
    [InlineData("cluster_size=8k", "")]
    [InlineData("cluster_size=8k", "a name of some length")]
    [InlineData("cluster_size=512,compat=0.10", "")]
    [InlineData("cluster_size=16k,extended_l2=on,refcount_bits=8", "")]
    public async Task EachStopLeavesTheImageAsBeforeOrAsAfter(string options, string backingName)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = folder.File("a.qcow2");
        if (backingName.Length > 0)
        {
            await Qemu.ImgOkAsync("create", "-q", "-f", "raw", folder.File(backingName), "1M");
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", options, "-b", folder.File(backingName), "-F", "raw", path, "200k");
        }
        else
        {
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", options, path, "200k");
        }

        bool isVersion3 = !options.Contains("compat", StringComparison.Ordinal);
        if (isVersion3)
        {
            await Qemu.ImgOkAsync("bitmap", "--add", "-g", "512", path, "fine");
            await Qemu.ImgOkAsync("bitmap", "--add", "-g", "64k", path, "coarse");
        }

        await Qemu.IoOkAsync(path, "write -P 1 0 10k", "write -P 3 100k 7k", "write -P 4 190k 10k");
        if (isVersion3
            && !options.Contains("refcount_bits=1,", StringComparison.Ordinal)
            && !options.EndsWith("refcount_bits=1", StringComparison.Ordinal))
        {
            await Qemu.ImgOkAsync("snapshot", "-c", "s", path);
        }

        byte[] image = await File.ReadAllBytesAsync(path, Token);
        foreach (long size in new long[] { 201 << 10, 9 << 20, (9 << 20) - 512, 105 << 10, 2 << 20, 512 })
        {
            image = await StopAnywhere.AssertBeforeOrAfterAsync(image, async image => await image.ResizeAsync(size, s_mayShrink, Token));
            await Qemu.ImgOkAsync("check", folder.Write("end.qcow2", image));
        }
    }

    [Theory]
    [InlineData("cluster_size=512", Preallocation.Metadata)]
    [InlineData("cluster_size=512,refcount_bits=64", Preallocation.Falloc)]
    [InlineData("cluster_size=512,compat=0.10", Preallocation.Full)]
    [InlineData("cluster_size=4k,refcount_bits=1", Preallocation.Full)]
    [InlineData("cluster_size=16k,extended_l2=on", Preallocation.Metadata)]
    [InlineData("cluster_size=16k,extended_l2=on", Preallocation.Full)]
    public async Task EachStopOfAPreallocationToo(string options, Preallocation preallocation)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = folder.File("a.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", options, path, "20k");
        if (!options.Contains("compat", StringComparison.Ordinal))
        {
            await Qemu.ImgOkAsync("bitmap", "--add", "-g", "512", path, "fine");
        }

        await Qemu.IoOkAsync(path, "write -P 1 0 3k", "write -P 4 19k 1k");
        byte[] image = await File.ReadAllBytesAsync(path, Token);
        foreach (long size in new long[] { 21 << 10, 70 << 10 })
        {
            image = await StopAnywhere.AssertBeforeOrAfterAsync(
                image, async image => await image.ResizeAsync(size, new Qcow2ResizeOptions { Preallocation = preallocation }, Token));
            await Qemu.ImgOkAsync("check", folder.Write("end.qcow2", image));
        }
    }
}
