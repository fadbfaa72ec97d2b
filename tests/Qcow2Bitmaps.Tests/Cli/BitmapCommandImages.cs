using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>The images that calls of <c>bitmap</c> name, made once by QEMU.</summary>
internal static class BitmapCommandImages
{
    private static readonly Lazy<Task<IReadOnlyDictionary<string, byte[]>>> s_images = new(MakeImagesAsync);

    /// <summary>Those that a call names, with their bytes.</summary>
    public static async Task<IEnumerable<(string Name, byte[] Bytes)>> NamedByAsync(IEnumerable<string> arguments)
    {
        IReadOnlyDictionary<string, byte[]> images = await s_images.Value;
        return arguments.Where(images.ContainsKey).Distinct().Select(name => (name, images[name]));
    }

    private static async Task<IReadOnlyDictionary<string, byte[]>> MakeImagesAsync()
    {
        using var folder = new TempFolder();
        foreach ((string name, string size, string options) in new[]
        {
            ("a.qcow2", "10M", "cluster_size=64k"), ("b.qcow2", "20M", "cluster_size=64k"), ("c.qcow2", "10M", "cluster_size=4k"),
            ("d.qcow2", "10M", "cluster_size=512"), ("v2.qcow2", "1M", "compat=0.10"), ("big.qcow2", "257T", "cluster_size=64k"),
        })
        {
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", options, folder.File(name), size);
        }

        foreach ((string name, string bitmap, string granularity) in new[]
        {
            ("a.qcow2", "y", "1M"), ("b.qcow2", "x", "0"), ("c.qcow2", "fine", "4k"), ("c.qcow2", "coarse", "256k"),
            ("c.qcow2", "-dash", "64k"), ("d.qcow2", "bad", "64k"),
        })
        {
            await Qemu.ImgOkAsync("bitmap", "--add", "-g", granularity, "--", folder.File(name), bitmap);
        }

        await Qemu.IoOkAsync(folder.File("c.qcow2"), "write 123k 5k", "write 9M 1M");
        await new QemuNode(folder.File("d.qcow2")).CrashAsync();
        await Qemu.ImgOkAsync("bitmap", "--add", folder.File("d.qcow2"), "good");
        folder.Write("r.raw", new byte[10 << 20]);
        return Directory.GetFiles(folder.Path).ToDictionary(static path => Path.GetFileName(path), File.ReadAllBytes);
    }
}
