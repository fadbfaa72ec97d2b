using System.Globalization;
using System.Text.RegularExpressions;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>Volumes that are too small: each refusal says how many bytes are needed in all, and so many are enough.</summary>
public sealed partial class VolumeTests : IDisposable
{
    private const int Cluster = 65536;

    private readonly TempFolder _folder = TempFolder.InMemory();
    private readonly LoopDevices _devices = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _devices.Dispose();
        _folder.Dispose();
    }

    /// <summary>Makes a source, or an image on the volume, and does what does not fit; <c>@</c> is the volume.</summary>
    [Theory]
    [InlineData(512 << 10, "", "create -q -f qcow2 -o preallocation=metadata @ 4G")]
    [InlineData(512 << 10, "", "convert -O qcow2 source @")]
    [InlineData(512 << 10, "", "convert -O raw source @")]
    [InlineData(512 << 10, "", "convert -n -O raw source @")]
    [InlineData(512 << 10, "", "chain flatten source @")]
    [InlineData(128 << 10, "", "chain snapshot source @")]
    [InlineData(256 << 10, "create -q -f qcow2 @ 1M", "bitmap --add @ a")]
    [InlineData(320 << 10, "create -q -f qcow2 @ 1M", "snapshot -c one @")]
    [InlineData(320 << 10, "create -q -f qcow2 @ 1M", "resize @ 2T")]
    [InlineData(512 << 10, "create -q -f qcow2 @ 4M", "commit --allow-backing /dev overlay")]
    [InlineData(512 << 10, "create -q -f qcow2 @ 4M", "chain commit --keep --allow-backing /dev overlay @")]
    [InlineData(
        1 << 20, "create -q -f qcow2 -o data_file=@,data_file_raw=on,keep_data_file=on meta", "resize --allow-backing /dev meta 2M")]
    [InlineData(1 << 20, "", "create -q -f qcow2 -o data_file=@,data_file_raw=on,keep_data_file=on meta 2M")]
    [InlineData(1 << 20, "", "create -q -f qcow2 -o data_file=@ meta 2M")]
    public async Task WhatIsSaidToBeNeededInAllIsEnough(int bytes, string before, string command)
    {
        Qemu.Require();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", _folder.File("source"), "4M");
        await Qemu.IoOkAsync(_folder.File("source"), "write -P 7 0 1M");
        string small = await PrepareAsync("small", bytes, before, command);
        byte[] untouched = await File.ReadAllBytesAsync(_folder.File("small"), Token);

        ProcessResult refused = await RunAsync(command, small);

        Assert.Equal(1, refused.ExitCode);
        Match said = Needed().Match(refused.Error);
        Assert.True(said.Success, refused.Error);
        long needed = long.Parse(said.Groups["needed"].Value, CultureInfo.InvariantCulture);
        Assert.Equal(bytes, long.Parse(said.Groups["there"].Value, CultureInfo.InvariantCulture));
        Assert.Single(refused.Error.TrimEnd('\n').Split('\n'));
        if (!command.StartsWith("convert -O qcow2", StringComparison.Ordinal))
        {
            Assert.Equal(untouched, await File.ReadAllBytesAsync(_folder.File("small"), Token));
        }

        await AssertFitsAsync("enough", needed, before, command, isEnough: true);
        // A cluster less is not, unless all that there is was enough but for one in a row.
        if (needed - Cluster > bytes)
        {
            await AssertFitsAsync("too-small", needed - Cluster, before, command, isEnough: false);
        }
    }

    [Fact]
    public async Task ADataFileIsNoBackingFile()
    {
        using var other = TempFolder.InMemory();
        string elsewhere = other.Path;
        string image = _folder.File("meta");
        string data = Path.Combine(elsewhere, "disk.raw");
        await File.WriteAllBytesAsync(data, new byte[1 << 20], Token);

        ProcessResult made = await Support.Cli.RunAsync(
            "create", "-f", "qcow2", "-o", $"data_file={data},data_file_raw=on,keep_data_file=on", image);
        Assert.Equal(0, made.ExitCode);
        Assert.Contains(
            $"warning: data file '{data}' of '{image}' leads to '{data}', outside the allowed folders", made.Error,
            StringComparison.Ordinal);
        Assert.Contains("--allow-backing DIR", made.Error, StringComparison.Ordinal);
        Assert.Equal(
            "",
            (
                await Support.Cli.RunAsync(
                    "create", "-q", "-f", "qcow2", "-o", $"data_file={data},data_file_raw=on,keep_data_file=on", image)).Error);
        foreach (string[] command
            in new string[][]
            {
                ["resize", image, "2M"],
                ["convert", "-O", "raw", image, _folder.File("copy")],
                ["compare", image, image],
                ["chain", "flatten", image, _folder.File("copy")],
            })
        {
            ProcessResult refused = await Support.Cli.RunAsync(command);
            Assert.NotEqual(0, refused.ExitCode);
            Assert.Contains($"data file '{data}' of '{image}' leads to", refused.Error, StringComparison.Ordinal);
            Assert.DoesNotContain("backing file", refused.Error, StringComparison.Ordinal);
        }

        File.Delete(data);
        foreach (string[] command
            in new string[][]
            {
                ["resize", "--allow-backing", elsewhere, image, "2M"],
                ["convert", "-O", "raw", image, _folder.File("copy")],
            })
        {
            ProcessResult missing = await Support.Cli.RunAsync(command);
            Assert.Equal(1, missing.ExitCode);
            Assert.EndsWith($"(which '{image}' names as its data file)\n", missing.Error, StringComparison.Ordinal);
        }
    }

    /// <summary>What is made with a device says at once what the next command will ask for.</summary>
    [Fact]
    public async Task WhatIsMadeWithADataFileOnADeviceSaysWhatLaterCommandsNeed()
    {
        Qemu.Require();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", _folder.File("source"), "1M");
        string device = await DeviceAsync("device", 1 << 20);
        foreach (string command
            in new[]
            {
                "create -f qcow2 -o data_file=@,data_file_raw=on,keep_data_file=on meta",
                "convert -O qcow2 -o data_file=@ source meta",
            })
        {
            ProcessResult made = await RunAsync(command, device);
            Assert.True(made.ExitCode == 0, made.Error);
            Assert.Contains(
                $"data file '{device}' of '{_folder.File("meta")}' leads to '{device}', outside the allowed folders", made.Error,
                StringComparison.Ordinal);
            Assert.Equal(1, (await Support.Cli.RunAsync("resize", "--shrink", _folder.File("meta"), "512K")).ExitCode);
        }

        // As it is advised: a link in the folder.
        File.CreateSymbolicLink(_folder.File("link"), device);
        ProcessResult linked = await Support.Cli.RunAsync(
            "create", "-f", "qcow2", "-o", $"data_file={_folder.File("link")},data_file_raw=on,keep_data_file=on", _folder.File("meta"));
        Assert.Equal((0, ""), (linked.ExitCode, linked.Error));
        await Support.Cli.OkAsync("convert", "-O", "raw", _folder.File("meta"), _folder.File("copy"));
    }

    private async Task AssertFitsAsync(string name, long bytes, string before, string command, bool isEnough)
    {
        string device = await PrepareAsync(name, bytes, before, command);
        ProcessResult result = await RunAsync(command, device);
        Assert.True(result.ExitCode == (isEnough ? 0 : 1), $"{bytes} bytes: {result.ExitCode} {result.Error}");
    }

    /// <summary>Makes a volume, what is on it, and an overlay of that where the command wants one.</summary>
    private async Task<string> PrepareAsync(string name, long bytes, string before, string command)
    {
        string device = await DeviceAsync(name, bytes);
        if (before.Length > 0)
        {
            ProcessResult made = await RunAsync(before, device);
            Assert.True(made.ExitCode == 0, made.Error);
        }

        if (command.Contains("overlay", StringComparison.Ordinal))
        {
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", device, "-F", "qcow2", _folder.File("overlay"));
            await Qemu.IoOkAsync(_folder.File("overlay"), "write -P 5 1M 2M");
        }

        return device;
    }

    private async Task<string> DeviceAsync(string name, long bytes)
    {
        string path = _folder.File(name);
        await using (FileStream file = File.Create(path))
        {
            file.SetLength(bytes);
        }

        return await _devices.AttachAsync(path);
    }

    private Task<ProcessResult> RunAsync(string command, string device) => Support.Cli.RunAsync(
        [
            .. command.Split(' ').Select(word =>
                word is "source" or "overlay" or "meta" ? _folder.File(word) : word.Replace("@", device, StringComparison.Ordinal))]);

    [GeneratedRegex(
        @"(?<needed>\d+) bytes are needed in all, (?<there>\d+) are there; extend (the volume|it) first", RegexOptions.ExplicitCapture,
        Patience.PatternMilliseconds)]
    private static partial Regex Needed();
}
