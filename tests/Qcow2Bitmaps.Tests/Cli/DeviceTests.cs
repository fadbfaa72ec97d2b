using System.Security.Cryptography;
using Qcow2Bitmaps.Tests.Images.Creation;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>Copying to and from block devices, raw ones and such with an image on them, beside qemu-img.</summary>
public sealed class DeviceTests : IDisposable
{
    private const int SourceBytes = 5000192;
    private const int LargeBytes = 16 << 20;

    private readonly TempFolder _folder = TempFolder.InMemory();
    private readonly LoopDevices _devices = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string Source => _folder.File("source");

    public void Dispose()
    {
        _devices.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData(LargeBytes)]
    [InlineData(SourceBytes)]
    public async Task ARawDeviceHasTheBytesThatQemuWrites(int deviceBytes)
    {
        await MakeSourceAsync();
        string ours = await DeviceAsync("ours", deviceBytes);
        string theirs = await DeviceAsync("theirs", deviceBytes);
        await Support.Cli.OkAsync("convert", "-O", "raw", Source, ours);
        await Qemu.ImgOkAsync("convert", "-O", "raw", Source, theirs);
        byte[] bytes = await File.ReadAllBytesAsync(_folder.File("ours"), Token);
        Assert.Equal(await File.ReadAllBytesAsync(_folder.File("theirs"), Token), bytes);
        // Behind the disk nothing is touched.
        Assert.False(bytes.AsSpan(SourceBytes).ContainsAnyExcept((byte)0xaa));

        // And back again, from the device; and over what is there.
        await Support.Cli.OkAsync("convert", "-f", "raw", "-O", "qcow2", ours, _folder.File("back"));
        await Qemu.ImgOkAsync("convert", "-f", "raw", "-O", "qcow2", theirs, _folder.File("their-back"));
        Assert.Equal("Images are identical.\n", await Support.Cli.OkAsync("compare", _folder.File("back"), _folder.File("their-back")));
        await Support.Cli.OkAsync("convert", "-n", "-O", "raw", Source, ours);
        Assert.Equal(bytes, await File.ReadAllBytesAsync(_folder.File("ours"), Token));
    }

    [Theory]
    [InlineData(LargeBytes, 512, "cluster_size=64k")]
    [InlineData(SourceBytes, 512, "cluster_size=4k")]
    [InlineData(LargeBytes, 4096, "cluster_size=512")]
    [InlineData(LargeBytes, 512, "preallocation=metadata,compat=0.10")]
    [InlineData(LargeBytes, 512, "preallocation=metadata,extended_l2=on")]
    public async Task AnImageOnADeviceReadsAsTheSource(int deviceBytes, int sectorBytes, string options)
    {
        await MakeSourceAsync();
        string device = await DeviceAsync("ours", deviceBytes, sectorBytes);
        await Support.Cli.OkAsync("convert", "-O", "qcow2", "-o", options, Source, device);
        Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", device), StringComparison.Ordinal);
        Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", Source, device));
        Assert.Equal(deviceBytes, SparseFiles.LengthOf(_folder.File("ours")));

        await Support.Cli.OkAsync("convert", "-O", "raw", device, _folder.File("back"));
        await Qemu.ImgOkAsync("convert", "-O", "raw", device, _folder.File("their-back"));
        Assert.Equal(
            await File.ReadAllBytesAsync(_folder.File("their-back"), Token), await File.ReadAllBytesAsync(_folder.File("back"), Token));
        await Support.Cli.OkAsync("convert", "-n", "-O", "qcow2", Source, device);
        Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", Source, device));
    }

    [Fact]
    public async Task ADeviceThatIsTooSmallIsRefused()
    {
        await MakeSourceAsync();
        string device = await DeviceAsync("small", 2 << 20);
        byte[] before = await File.ReadAllBytesAsync(_folder.File("small"), Token);
        foreach (string option in new[] { "-q", "-n" })
        {
            Assert.Contains("small", await FailsAsync("convert", option, "-O", "raw", Source, device), StringComparison.Ordinal);
            Assert.Equal(before, await File.ReadAllBytesAsync(_folder.File("small"), Token));
        }

        // What an image needs is known when all is read.
        Assert.Contains("no space", await FailsAsync("convert", "-O", "qcow2", Source, device), StringComparison.Ordinal);
        Assert.Contains(
            "too small", await FailsAsync("convert", "-O", "qcow2", "-o", "preallocation=metadata", Source, device),
            StringComparison.Ordinal);
        Assert.Equal(2 << 20, SparseFiles.LengthOf(_folder.File("small")));
        Assert.Contains("no space", await FailsAsync("chain", "flatten", Source, device), StringComparison.Ordinal);
        Assert.Equal(2 << 20, SparseFiles.LengthOf(_folder.File("small")));
    }

    [Theory]
    [InlineData("raw", LargeBytes)]
    [InlineData("qcow2", LargeBytes)]
    [InlineData("qcow2", 2 << 20)]
    public async Task AnOverlayIsCommittedToADevice(string format, int deviceBytes)
    {
        await MakeSourceAsync();
        string device = await DeviceAsync("base", deviceBytes);
        string their = await DeviceAsync("their-base", deviceBytes);
        foreach ((string disk, string overlay) in new[] { (device, "overlay"), (their, "their-overlay") })
        {
            if (format == "qcow2")
            {
                await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", disk, $"{SourceBytes}");
                await Qemu.IoOkAsync(disk, "write -P 8 1M 64k");
            }

            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", disk, "-F", format, _folder.File(overlay));
            await Qemu.IoOkAsync(_folder.File(overlay), "write -P 3 0 3M", "write -z 3M 100k");
        }

        string view = _folder.File("view");
        await Qemu.ImgOkAsync("convert", "-O", "raw", _folder.File("overlay"), view);
        byte[] before = await File.ReadAllBytesAsync(_folder.File("base"), Token);
        string[] commit = ["commit", "--allow-backing", "/dev", _folder.File("overlay")];
        if (deviceBytes < LargeBytes)
        {
            Assert.Contains("no space", await FailsAsync(commit), StringComparison.Ordinal);
            Assert.Equal(before, await File.ReadAllBytesAsync(_folder.File("base"), Token));
            Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", "-F", "raw", _folder.File("overlay"), view));
            return;
        }

        await Support.Cli.OkAsync("chain", "flatten", "--allow-backing", "/dev", _folder.File("overlay"), _folder.File("flat"));
        Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", "-F", "raw", _folder.File("flat"), view));
        await Support.Cli.OkAsync(commit);
        await Qemu.ImgOkAsync("commit", _folder.File("their-overlay"));
        Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", "-f", format, "-F", format, device, their));
        Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", "-f", format, "-F", "raw", device, view));
        Assert.Equal(deviceBytes, SparseFiles.LengthOf(_folder.File("base")));
        if (format == "raw")
        {
            Assert.Equal(Hash("their-base"), Hash("base"));
        }
        else
        {
            Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", device), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task AnImageOnADeviceGetsAnOverlayOnAnother()
    {
        await MakeSourceAsync();
        string active = await DeviceAsync("active", LargeBytes);
        string next = await DeviceAsync("next", LargeBytes);
        await Support.Cli.OkAsync("convert", "-O", "qcow2", Source, active);
        await Support.Cli.OkAsync("bitmap", "--add", active, "chk");
        await Support.Cli.OkAsync("chain", "snapshot", "--allow-backing", "/dev", active, next);
        Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", next), StringComparison.Ordinal);
        Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", next, Source));
        await Qemu.IoOkAsync(next, "write -P 6 0 100k");
        await Support.Cli.OkAsync("commit", "--allow-backing", "/dev", next);
        await Qemu.IoOkAsync(active, "read -P 6 0 100k");
        await Support.Cli.OkAsync("snapshot", "-c", "one", active);
        await Support.Cli.OkAsync("snapshot", "-d", "one", active);
        Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", active), StringComparison.Ordinal);
    }

    private async Task MakeSourceAsync()
    {
        Qemu.Require();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", Source, $"{SourceBytes}");
        await File.WriteAllBytesAsync(_folder.File("random"), RandomNumberGenerator.GetBytes(3 << 20), Token);
        await Qemu.IoOkAsync(Source, $"write -s {_folder.File("random")} 64k 3M", "write -z 1M 100k", "write -P 9 4999680 512");
    }

    private async Task<string> DeviceAsync(string name, int bytes, int sectorBytes = 512)
    {
        var old = new byte[bytes];
        old.AsSpan().Fill(0xaa);
        return await _devices.AttachAsync(_folder.Write(name, old), sectorBytes);
    }

    private string Hash(string name) => Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(_folder.File(name))));

    private static async Task<string> FailsAsync(params string[] arguments)
    {
        ProcessResult result = await Support.Cli.RunAsync(arguments);
        Assert.Equal(1, result.ExitCode);
        return result.Error;
    }
}
