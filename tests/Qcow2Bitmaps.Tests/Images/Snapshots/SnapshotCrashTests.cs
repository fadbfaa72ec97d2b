using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Snapshots;

/// <summary>
/// A change of snapshots that is stopped at any moment leaves the image as before or as after, and a check finds nothing.
/// </summary>
public sealed class SnapshotCrashTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("cluster_size=512")]
    [InlineData("cluster_size=512,refcount_bits=64")]
    [InlineData("cluster_size=1k,refcount_bits=32")]
    [InlineData("cluster_size=4k,refcount_bits=4")]
    [InlineData("cluster_size=512,compat=0.10")]
    [InlineData("cluster_size=16k,extended_l2=on,refcount_bits=8")]
    public async Task EachStopLeavesTheImageAsBeforeOrAsAfter(string options)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = folder.File("a.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", options, path, "200k");
        bool isVersion3 = !options.Contains("compat", StringComparison.Ordinal);
        await Qemu.IoOkAsync(path, "write -P 1 0 10k", "write -c -P 2 32k 16k", "write -P 3 100k 7k");
        if (isVersion3)
        {
            await Qemu.ImgOkAsync("bitmap", "--add", "-g", "512", path, "b");
            await Qemu.IoOkAsync(path, "write -z 120k 32k", "write -P 9 120k 1k");
        }

        byte[] image = await File.ReadAllBytesAsync(path, Token);
        image = await StopAnywhere.AssertBeforeOrAfterAsync(image, static async image => await image.CreateSnapshotAsync("one", Token));
        image = await WriteAsync(folder, image, "write -P 4 5k 40k", "discard 100k 4k");
        image = await StopAnywhere.AssertBeforeOrAfterAsync(image, static async image => await image.CreateSnapshotAsync("two", Token));
        image = await StopAnywhere.AssertBeforeOrAfterAsync(image, static async image => await image.DeleteSnapshotAsync("one", Token));
        image = await WriteAsync(folder, image, "write -P 5 1k 2k");
        if (isVersion3)
        {
            await using (Stream file = File.Create(path))
            {
                await file.WriteAsync(image, Token);
            }

            await Qemu.ImgOkAsync("bitmap", "--remove", path, "b");
            await Qemu.ImgOkAsync("resize", "-q", path, "3M");
            image = await WriteAsync(folder, await File.ReadAllBytesAsync(path, Token), "write -P 6 2M 5k");
        }

        image = await StopAnywhere.AssertBeforeOrAfterAsync(image, static async image => await image.ApplySnapshotAsync("two", Token));
        image = await StopAnywhere.AssertBeforeOrAfterAsync(image, static async image => await image.DeleteSnapshotAsync("two", Token));
        await Qemu.ImgOkAsync("check", folder.Write("end.qcow2", image));
    }

    private static async Task<byte[]> WriteAsync(TempFolder folder, byte[] image, params string[] commands)
    {
        string path = folder.Write("b.qcow2", image);
        await Qemu.ImgOkAsync("check", path);
        await Qemu.IoOkAsync(path, commands);
        return await File.ReadAllBytesAsync(path, Token);
    }
}
