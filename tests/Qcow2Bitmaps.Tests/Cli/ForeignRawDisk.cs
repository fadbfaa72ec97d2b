using System.Runtime.InteropServices;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>A raw disk of random bytes, a file or a block device, as somebody has it before an image is put around it.</summary>
internal sealed class ForeignRawDisk : IDisposable
{
    public const int DiskBytes = 8 << 20;

    private readonly LoopDevices _devices = new();

    private ForeignRawDisk(TempFolder folder, byte[] bytes)
    {
        Folder = folder;
        Original = bytes;
        Path = Backing = folder.Write("disk.img", bytes);
    }

    public TempFolder Folder { get; }

    /// <summary>The disk's bytes as they were.</summary>
    public byte[] Original { get; }

    /// <summary>The file, or the device.</summary>
    public string Path { get; private set; }

    public bool IsDevice => Path != Backing;

    private string Backing { get; }

    public static async Task<ForeignRawDisk> MakeAsync(bool isDevice, int zerosFrom = DiskBytes, int zerosEnd = DiskBytes)
    {
        byte[] bytes = RandomBytes(DiskBytes);
        bytes.AsSpan(zerosFrom, zerosEnd - zerosFrom).Clear();
        var disk = new ForeignRawDisk(TempFolder.InMemory(), bytes);
        if (isDevice)
        {
            disk.Path = await disk._devices.AttachAsync(disk.Backing);
        }

        return disk;
    }

    /// <summary>Bytes that look random, the same each time.</summary>
    public static byte[] RandomBytes(int count)
    {
        var random = new SplitMix(3);
        var bytes = new byte[count];
        foreach (ref ulong word in MemoryMarshal.Cast<byte, ulong>(bytes.AsSpan()))
        {
            word = random.Next();
        }

        return bytes;
    }

    /// <summary>Puts an image around the disk, with a bitmap that records.</summary>
    /// <returns>The image's path.</returns>
    public async Task<string> WrapAsync(string name, long sizeBytes, string options = "")
    {
        string image = Folder.File(name);
        string all = $"data_file={Path},data_file_raw=on,keep_data_file=on{(options.Length > 0 ? "," : "")}{options}";
        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", "-o", all, image, $"{sizeBytes}");
        await Support.Cli.OkAsync("bitmap", "--add", "-g", "64k", image, "b");
        return image;
    }

    /// <summary>Runs the tool, which may open a device.</summary>
    public Task<ProcessResult> RunAsync(params string[] arguments) =>
        Support.Cli.RunAsync([.. arguments, .. IsDevice && TakesFolders(arguments) ? (string[])["--allow-backing", "/dev"] : []]);

    public Task<byte[]> ReadAsync() => File.ReadAllBytesAsync(Backing, TestContext.Current.CancellationToken);

    /// <summary>Fails unless the disk has just these bytes.</summary>
    public async Task AssertAsync(byte[] expected, string context)
    {
        byte[] now = await ReadAsync();
        int same = now.AsSpan().CommonPrefixLength(expected);
        Assert.True(
            same == expected.Length && same == now.Length,
            $"{context}: {now.Length} bytes, {expected.Length} expected, the same up to {same}");
    }

    public void Dispose()
    {
        _devices.Dispose();
        Folder.Dispose();
    }

    private static bool TakesFolders(string[] arguments) => arguments[0] is "resize" or "commit" or "rebase" or "convert" or "chain";
}
