using System.Text.RegularExpressions;
using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Images.Resizing;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Images.Creation;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>Space taken beforehand by <c>create</c>, <c>convert</c> and <c>resize</c>, beside qemu-img's.</summary>
public sealed partial class PreallocationTests : IDisposable
{
    private readonly TempFolder _folder = TempFolder.InMemory();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string Ours => _folder.File("ours");

    private string Theirs => _folder.File("theirs");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("", "falloc")]
    [InlineData("", "full")]
    [InlineData("cluster_size=512,", "falloc")]
    [InlineData("cluster_size=512,refcount_bits=64,", "full")]
    [InlineData("cluster_size=2M,", "full")]
    [InlineData("compat=0.10,", "falloc")]
    [InlineData("extended_l2=on,", "falloc")]
    [InlineData("extended_l2=on,cluster_size=16k,", "full")]
    public async Task ANewImageHasItsSpace(string options, string mode)
    {
        Qemu.Require();
        string[] arguments = ["create", "-f", "qcow2", "-o", $"{options}preallocation={mode}"];
        string theirs = await Qemu.ImgOkAsync([.. arguments, Theirs, "3000320"]);
        Assert.Equal(theirs.Replace(Theirs, Ours, StringComparison.Ordinal), await Support.Cli.OkAsync([.. arguments, Ours, "3000320"]));
        Assert.Equal(SparseFiles.LengthOf(Theirs), SparseFiles.LengthOf(Ours));
        await RequireSameAsync();
        Assert.InRange(Occupied(Ours), 3000320, long.MaxValue);
        Assert.Equal(await MapAsync(Theirs), await MapAsync(Ours));
        await RequireRoomAsync(Ours, "write -P 9 0 3000320");
    }

    [Theory]
    [InlineData("falloc")]
    [InlineData("full")]
    public async Task ADataFileHasItsSpace(string mode)
    {
        Qemu.Require();
        await Support.Cli.OkAsync(
            "create", "-q", "-f", "qcow2", "-o", $"data_file={_folder.File("d")},preallocation={mode}", Ours, "3000320");
        Assert.InRange(Occupied(_folder.File("d")), 3000320, long.MaxValue);
        await Qemu.ImgOkAsync("check", Ours);
        await Qemu.IoOkAsync(Ours, "read -P 0 0 3000320");
    }

    [Theory]
    [InlineData("falloc")]
    [InlineData("full")]
    public async Task RawFilesHaveTheirSpace(string mode)
    {
        Qemu.Require();
        string[] create = ["create", "-f", "raw", "-o", $"preallocation={mode}"];
        string theirs = await Qemu.ImgOkAsync([.. create, Theirs, "1000001"]);
        Assert.Equal(theirs.Replace(Theirs, Ours, StringComparison.Ordinal), await Support.Cli.OkAsync([.. create, Ours, "1000001"]));
        Assert.Equal(Occupied(Theirs), Occupied(Ours));
        foreach (string size in new[] { "3000001", "+777" })
        {
            await Qemu.ImgOkAsync("resize", "-f", "raw", "--preallocation=" + mode, Theirs, size);
            Assert.Equal("Image resized.\n", await Support.Cli.OkAsync("resize", "-f", "raw", "--preallocation=" + mode, Ours, size));
            Assert.Equal(Occupied(Theirs), Occupied(Ours));
        }

        Assert.Equal(await File.ReadAllBytesAsync(Theirs, Token), await File.ReadAllBytesAsync(Ours, Token));
    }

    [Theory]
    [InlineData("qcow2", "falloc")]
    [InlineData("qcow2", "full")]
    [InlineData("raw", "falloc")]
    [InlineData("raw", "full")]
    public async Task AConvertedDiskHasItsSpace(string format, string mode)
    {
        Qemu.Require();
        string source = _folder.File("source");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", source, "5000192");
        await Qemu.IoOkAsync(source, "write -P 1 70k 100k", "write -P 2 4M 100k", "write -z 3M 64k");
        string[] arguments = ["convert", "-O", format, "-o", "preallocation=" + mode, source];
        await Qemu.ImgOkAsync([.. arguments, Theirs]);
        await Support.Cli.OkAsync([.. arguments, Ours]);
        Assert.Equal(SparseFiles.LengthOf(Theirs), SparseFiles.LengthOf(Ours));
        Assert.InRange(Occupied(Ours), 5000192, long.MaxValue);
        Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", "-f", format, "-F", format, Ours, Theirs));
        if (format == "qcow2")
        {
            Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", Ours), StringComparison.Ordinal);
            await RequireRoomAsync(Ours, "write -P 9 0 5000192");
        }
    }

    [Theory]
    [InlineData("", "metadata")]
    [InlineData("", "falloc")]
    [InlineData("", "full")]
    [InlineData("cluster_size=512,refcount_bits=1", "metadata")]
    [InlineData("cluster_size=512,refcount_bits=64", "full")]
    [InlineData("cluster_size=2M", "falloc")]
    [InlineData("compat=0.10", "metadata")]
    [InlineData("compat=0.10", "full")]
    [InlineData("extended_l2=on", "metadata")]
    [InlineData("extended_l2=on", "falloc")]
    [InlineData("backing", "metadata")]
    [InlineData("backing", "falloc")]
    [InlineData("backing,extended_l2=on", "metadata")]
    [InlineData("backing,extended_l2=on,cluster_size=16k", "full")]
    public async Task WhatADiskGainsHasItsSpace(string options, string mode)
    {
        Qemu.Require();
        bool hasBacking = options.StartsWith("backing", StringComparison.Ordinal);
        if (hasBacking)
        {
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", _folder.File("base"), "3M");
            await Qemu.IoOkAsync(_folder.File("base"), "write -P 7 0 3M");
        }

        options = options.Replace("backing", "", StringComparison.Ordinal).Trim(',');
        foreach (string image in new[] { Ours, Theirs })
        {
            await Qemu.ImgOkAsync(
                [
                    "create",
                    "-q",
                    "-f",
                    "qcow2",
                    .. options.Length > 0 ? (string[])["-o", options] : [],
                    .. hasBacking ? (string[])["-b", _folder.File("base"), "-F", "qcow2"] : [],
                    image,
                    "1000448",
                ]);
            if (!options.Contains("compat", StringComparison.Ordinal))
            {
                await Qemu.ImgOkAsync("bitmap", "--add", image, "kept");
            }

            await Qemu.IoOkAsync(image, "write -P 3 100k 70k");
        }

        string theirs = await Qemu.ImgOkAsync("resize", "--preallocation=" + mode, Theirs, "5M");
        Assert.Equal(theirs, await Support.Cli.OkAsync("resize", "--preallocation=" + mode, Ours, "5M"));
        await RequireSameAsync();
        if (mode != "metadata")
        {
            Assert.InRange(Occupied(Ours), (5 << 20) - 1000448, long.MaxValue);
        }

        // Behind the cluster in which the disk ended, which a backing image may show through; what of it is
        // a hole depends on the file system.
        Assert.Equal(await MapAsync(Theirs, 1 << 20, placesOnly: true), await MapAsync(Ours, 1 << 20, placesOnly: true));
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(Ours, cancellationToken: Token))
        {
            if (image.Header.Version >= 3)
            {
                Assert.Equal(5 << 20, (await image.Bitmaps.LoadAsync("kept", cancellationToken: Token)).SizeBytes);
            }
        }

        await RequireRoomAsync(Ours, options.Contains("2M", StringComparison.Ordinal) ? "write -P 9 4M 1M" : "write -P 9 1M 4M");
        // Grown again, and shrunk.
        await Support.Cli.OkAsync("resize", "--preallocation=" + mode, Ours, "+100k");
        await Support.Cli.OkAsync("resize", "--shrink", Ours, "2M");
        Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", Ours), StringComparison.Ordinal);
    }

    /// <summary>
    /// A guest that writes all that the disk has gained needs no more space, also in the cluster in which
    /// the disk ended, whatever that was.
    /// </summary>
    [Theory]
    [InlineData("", "")]
    [InlineData("", "write -P 3 983040 512")]
    [InlineData("", "write -z 983040 17408")]
    [InlineData("", "write -z -u 983040 17408")]
    [InlineData("", "write -c -P 3 983040 17408")]
    [InlineData("snapshot", "write -P 3 983040 512")]
    [InlineData("compat=0.10", "")]
    [InlineData("extended_l2=on", "")]
    [InlineData("extended_l2=on", "write -P 3 998912 512")]
    [InlineData("extended_l2=on", "write -z 983040 2048")]
    [InlineData("backing", "")]
    [InlineData("backing,extended_l2=on", "")]
    [InlineData("backing,extended_l2=on", "write -z 983040 2048")]
    [InlineData("data_file=FILE", "")]
    [InlineData("data_file=FILE", "write -z -u 983040 17408")]
    [InlineData("data_file=FILE,extended_l2=on", "")]
    [InlineData("data_file=FILE,data_file_raw=on", "")]
    [InlineData("data_file=FILE,data_file_raw=on", "write -z 983040 17408")]
    public async Task TheClusterInWhichTheDiskEndedHasItsSpaceToo(string options, string write)
    {
        Qemu.Require();
        const int OldSize = 1000448;
        foreach (string mode in new[] { "falloc", "full" })
        {
            string path = _folder.File(mode);
            string data = _folder.File(mode + ".data");
            bool hasBacking = options.StartsWith("backing", StringComparison.Ordinal);
            string[] backing = hasBacking ? ["-b", _folder.Write("below", [.. Enumerable.Repeat((byte)9, OldSize)]), "-F", "raw"] : [];
            string plain = options.Replace("backing", "", StringComparison.Ordinal)
                .Replace("snapshot", "", StringComparison.Ordinal)
                .Replace("FILE", data, StringComparison.Ordinal)
                .Trim(',');
            await Qemu.ImgOkAsync(
                ["create", "-q", "-f", "qcow2", .. plain.Length > 0 ? (string[])["-o", plain] : [], .. backing, path, $"{OldSize}"]);
            if (write.Length > 0)
            {
                await Qemu.IoOkAsync(path, write);
            }

            if (options is "snapshot")
            {
                await Qemu.ImgOkAsync("snapshot", "-c", "s", path);
            }

            string old = _folder.File("old");
            await Qemu.ImgOkAsync("convert", "-O", "raw", path, old);
            await Support.Cli.OkAsync("resize", "--preallocation=" + mode, path, "3M");
            byte[] expected = await File.ReadAllBytesAsync(old, Token);
            Array.Resize(ref expected, 3 << 20);
            await Qemu.ImgOkAsync("convert", "-O", "raw", path, _folder.File("now"));
            Assert.True(
                (await File.ReadAllBytesAsync(_folder.File("now"), Token)).AsSpan().SequenceEqual(expected),
                $"{mode}: the disk reads otherwise");
            string file = plain.Contains("data_file", StringComparison.Ordinal) ? data : path;
            (long length, long occupied) = (SparseFiles.LengthOf(file), Occupied(file));
            Assert.InRange(occupied, (3 << 20) - (OldSize & -65536), long.MaxValue);
            await RequireRoomAsync(path, $"write -P 9 {OldSize} {(3 << 20) - OldSize}");
            Assert.Equal((length, occupied), (SparseFiles.LengthOf(file), Occupied(file)));
        }
    }

    [Theory]
    [InlineData("metadata", "data_file_raw=off")]
    [InlineData("falloc", "data_file_raw=off")]
    [InlineData("full", "data_file_raw=on")]
    public async Task WhatADataFileGainsHasItsSpace(string mode, string options)
    {
        Qemu.Require();
        string data = _folder.File("d");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", $"data_file={data},{options}", Ours, "1000448");
        await Qemu.IoOkAsync(Ours, "write -P 3 900k 70k");
        await Support.Cli.OkAsync("resize", "--preallocation=" + mode, Ours, "5M");
        Assert.Equal(5 << 20, SparseFiles.LengthOf(data));
        Assert.InRange(Occupied(data), mode == "metadata" ? 0 : (5 << 20) - 1000448, long.MaxValue);
        Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", Ours), StringComparison.Ordinal);
        await Qemu.IoOkAsync(Ours, "read -P 3 900k 70k", "read -P 0 970k 54k", "read -P 0 1M 4M");
        await RequireRoomAsync(Ours, "write -P 9 1M 4M");
    }

    [Fact]
    public async Task DevicesRefuseWhatQemuRefuses()
    {
        Qemu.Require();
        using var devices = new LoopDevices();
        byte[] old = [.. Enumerable.Repeat((byte)0xaa, 8 << 20)];
        string device = await devices.AttachAsync(_folder.Write("disk", old));
        foreach (string mode in new[] { "falloc", "full" })
        {
            await RefusedAsync("create", "-q", "-f", "raw", "-o", "preallocation=" + mode, device, "1M");
            Assert.Equal(old, await File.ReadAllBytesAsync(_folder.File("disk"), Token));
            await RefusedAsync("resize", "-f", "raw", "--preallocation=" + mode, device, "40M");
            await RefusedAsync("resize", "-f", "raw", "--preallocation=metadata", device, "40M");
            Assert.Equal(
                1, (await Support.Cli.RunAsync("create", "-q", "-f", "qcow2", "-o", "preallocation=" + mode, device, "1M")).ExitCode);
            Assert.Equal(old, await File.ReadAllBytesAsync(_folder.File("disk"), Token));
            await RefusedAsync("create", "-q", "-f", "qcow2", "-o", "preallocation=" + mode, device, "1M");
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", device, "1M");
            await RefusedAsync("resize", "--preallocation=" + mode, device, "2M");
            await File.WriteAllBytesAsync(_folder.File("disk"), old, Token);
        }

        await RefusedAsync("resize", "-f", "raw", device, "40M");
        await RefusedAsync("resize", "-f", "raw", "--shrink", device, "1M");
        Assert.Equal("Image resized.\n", await Support.Cli.OkAsync("resize", "-f", "raw", device, "8M"));
    }

    /// <summary>What was on the device before must not show in what the disk gains.</summary>
    [Theory]
    [InlineData("compat=1.1")]
    [InlineData("compat=0.10")]
    [InlineData("extended_l2=on")]
    public async Task PlacesOnADeviceReadAsZeros(string options)
    {
        Qemu.Require();
        using var devices = new LoopDevices();
        string device = await devices.AttachAsync(_folder.Write("disk", [.. Enumerable.Repeat((byte)0xaa, 8 << 20)]));
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", options, device, "1000448");
        await Support.Cli.OkAsync("resize", "--preallocation=metadata", device, "5M");
        Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", device), StringComparison.Ordinal);
        await Qemu.IoOkAsync(device, "read -P 0 0 5M", "write -P 5 1M 100000", "read -P 5 1M 100000");
        ProcessResult tooLarge = await Support.Cli.RunAsync("resize", "--preallocation=metadata", device, "50M");
        Assert.Equal(1, tooLarge.ExitCode);
        Assert.Contains("no space", tooLarge.Error, StringComparison.Ordinal);
        Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", device), StringComparison.Ordinal);
        await Qemu.IoOkAsync(device, "read -P 0 0 1M", "read -P 5 1M 100000");
    }

    [Fact]
    public async Task WhereThereIsNoSpaceAllIsAsBefore()
    {
        Qemu.Require();
        Assert.SkipUnless(
            _folder.Path.StartsWith("/dev/shm/", StringComparison.Ordinal) && _folder.HoldsFilesOf(100L << 40),
            "Another file system may try to find the space");
        // More than there is memory, with few tables: those are written before the space is asked for.
        foreach ((string format, string options) in new[] { ("raw", ""), ("qcow2", "cluster_size=2M,") })
        {
            await RefusedForSpaceAsync("create", "-q", "-f", format, "-o", $"{options}preallocation=falloc", Ours, "4T");
            Assert.False(Path.Exists(Ours));
            await Qemu.ImgOkAsync("create", "-q", "-f", format, "-o", $"{options}preallocation=off", Ours, "1M");
            byte[] before = await File.ReadAllBytesAsync(Ours, Token);
            await RefusedForSpaceAsync("resize", "-f", format, "--preallocation=falloc", Ours, "4T");
            Assert.Equal(before, await File.ReadAllBytesAsync(Ours, Token));
            File.Delete(Ours);
        }
    }

    [Fact]
    public async Task RawImagesHaveNoMetadata()
    {
        await Assert.ThrowsAsync<ArgumentException>(() => Disk.CreateRawAsync(Ours, 512, Preallocation.Metadata, Token));
        Assert.False(Path.Exists(Ours));
        await using var storage = new MemoryStorage(new byte[1024], "memory");
        await Assert.ThrowsAsync<ArgumentException>(() => RawImage.ResizeAsync(storage, 2048, Preallocation.Metadata, Token));
        await Assert.ThrowsAsync<ArgumentException>(() => RawImage.ResizeAsync(storage, 1024, Preallocation.Full, Token));
        Assert.Equal(1024, storage.Length);
        await RawImage.ResizeAsync(storage, 3000, Preallocation.Falloc, Token);
        Assert.Equal(new byte[3000], storage.ToArray());
        if (Qemu.IsHere)
        {
            await Qemu.ImgOkAsync("create", "-q", "-f", "raw", Theirs, "1M");
            await RefusedAsync("resize", "-f", "raw", "--preallocation=metadata", Theirs, "2M");
        }
    }

    [Fact]
    public async Task OnlyADiskThatGrowsIsPreallocated()
    {
        byte[] image = new TestImage().Build();
        await using var storage = new MemoryStorage(image, "memory");
        await using Qcow2Image opened = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
        var options = new Qcow2ResizeOptions { AllowShrink = true, Preallocation = Preallocation.Full };
        await Assert.ThrowsAsync<ArgumentException>(async () => await opened.ResizeAsync(opened.VirtualSizeBytes - 512, options, Token));
        await Assert.ThrowsAsync<ArgumentException>(async () => await opened.ResizeAsync(opened.VirtualSizeBytes, options, Token));
        Assert.Equal(image, storage.ToArray());
    }

    private static long Occupied(string path)
    {
        using System.Diagnostics.Process process = System.Diagnostics.Process.Start(
            new System.Diagnostics.ProcessStartInfo("stat", ["-c", "%b", path])
            {
                RedirectStandardOutput = true,
                UseShellExecute = false,
            })!;
        return 512 * long.Parse(process.StandardOutput.ReadToEnd(), System.Globalization.CultureInfo.InvariantCulture);
    }

    /// <summary>What each part of the disk is, wherever it lies in the file.</summary>
    private static async Task<string> MapAsync(string image, long from = 0, bool placesOnly = false)
    {
        string[] lines = (await Qemu.ImgOkAsync("map", "--output=json", "--start-offset=" + from, image)).Split('\n');
        var parts = new List<(string Kind, long Length)>();
        foreach (Match match in lines.Select(static line => Extent().Match(line)).Where(static match => match.Success))
        {
            long length = long.Parse(match.Groups["length"].Value, System.Globalization.CultureInfo.InvariantCulture);
            string kind = placesOnly ? match.Groups["kind"].Value.Split(", \"zero\"")[0] : match.Groups["kind"].Value;
            if (parts.Count > 0 && parts[^1].Kind == kind)
            {
                length += parts[^1].Length;
                parts.RemoveAt(parts.Count - 1);
            }

            parts.Add((kind, length));
        }

        Assert.NotEmpty(parts);
        return string.Join('\n', parts);
    }

    /// <summary>The file has room for what is written: it does not grow.</summary>
    private static async Task RequireRoomAsync(string image, string write)
    {
        long length = SparseFiles.LengthOf(image);
        await Qemu.IoOkAsync(image, write);
        Assert.Equal(length, SparseFiles.LengthOf(image));
        Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", image), StringComparison.Ordinal);
    }

    private async Task RequireSameAsync()
    {
        Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", Ours), StringComparison.Ordinal);
        Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", Ours, Theirs));
    }

    private static async Task RefusedAsync(params string[] arguments)
    {
        ProcessResult ours = await Support.Cli.RunAsync(arguments);
        ProcessResult theirs = await Qemu.ImgAsync(arguments);
        Assert.Equal((theirs.ExitCode, FirstLine(theirs)), (ours.ExitCode, FirstLine(ours)));
        Assert.Equal(1, ours.ExitCode);
    }

    private static async Task RefusedForSpaceAsync(params string[] arguments)
    {
        ProcessResult result = await Support.Cli.RunAsync(arguments);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("Could not preallocate new data: No space left on device", result.Error, StringComparison.Ordinal);
    }

    private static string FirstLine(ProcessResult result) => result.Error.Split('\n')[0].Split(": ", 2)[1];

    [GeneratedRegex("""
        "length": (?<length>\d+), (?<kind>"depth": \d+, "present": \w+, "zero": \w+, "data": \w+)
        """, RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Extent();
}
