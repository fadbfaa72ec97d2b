using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>
/// A raw data file, or the device in its place, has the bytes that it had, whatever verb is used on the image around it, but
/// for those that the verb is asked to write.
/// </summary>
public sealed class RawDataFileTests
{
    private const string Refused = "refused";
    private const string Kept = "kept";
    private const string Written = "written";
    private const int HalfBytes = ForeignRawDisk.DiskBytes / 2;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>
    /// Verbs, what becomes of a file, and of a device. "c" has the first half of the disk, "whole" all of it,
    /// "over" is 6M long above "c", "source" 4M long.
    /// </summary>
    public static TheoryData<string, string, string> Verbs => new()
    {
        { "resize c 8M", Kept, Kept },
        { "resize c 6M", Kept, Kept },
        { "resize c 4195840", Kept, Kept },
        { "resize c 10M", "10M", Refused },
        { "resize --preallocation=metadata c 6M", Kept, Kept },
        { "resize --preallocation=falloc c 6M", Kept, Refused },
        { "resize --preallocation=full c 6M", Kept, Refused },
        { "resize --preallocation=full c 10M", "10M", Refused },
        { "resize c 2M", Refused, Refused },
        { "resize --shrink c 2M", Kept, Kept },
        { "resize whole 2M", Refused, Refused },
        { "resize --shrink whole 2M", "2M", Kept },
        { "resize --shrink whole 2098688", "2098688", Kept },
        { "resize whole 8M", Kept, Kept },
        { "commit over", Refused, Refused },
        { "commit -d over", Refused, Refused },
        { "chain commit over c", Refused, Refused },
        { "chain measure --commit c over", Refused, Refused },
        { "chain pull over", Kept, Kept },
        { "chain snapshot c new", Kept, Kept },
        { "chain flatten over new", Kept, Kept },
        { "rebase -b  over", Kept, Kept },
        { "rebase -b source -F raw over", Kept, Kept },
        { "rebase -b source -F raw c", Refused, Refused },
        { "rebase -u -b source -F raw c", Refused, Refused },
        { "chain rebase -b source -F raw c", Refused, Refused },
        { "convert -n -O qcow2 source c", Written, Written },
        { "convert -n -O qcow2 source whole", Written, Written },
        { "convert -O qcow2 -o data_file=DISK,data_file_raw=on source new", Refused, Written },
        { "convert -O qcow2 -o data_file=DISK source new", Refused, Written },
        { "create -f qcow2 -o data_file=DISK,data_file_raw=on new 4M", Refused, Kept },
        { "create -f qcow2 -o data_file=DISK new 4M", Refused, Kept },
        { "create -f qcow2 -o data_file=DISK,preallocation=full new 4M", Refused, Refused },
        { "create -f qcow2 -o data_file=DISK,data_file_raw=on,keep_data_file=on,preallocation=metadata new 3M", Kept, Kept },
        { "create -f qcow2 -o data_file=DISK,data_file_raw=on,keep_data_file=on new 9M", Refused, Refused },
        { "check -r all c", Kept, Kept },
        { "bitmap --remove c b", Kept, Kept },
        { "snapshot -c s c", Refused, Refused },
        { "snapshot -a s c", Refused, Refused },
        { "backup restore -O raw saved DISK", Refused, Written },
    };

    [Theory]
    [MemberData(nameof(Verbs))]
    public async Task AFileKeepsItsBytes(string verb, string ofFile, string ofDevice)
    {
        _ = ofDevice;
        using ForeignRawDisk disk = await ForeignRawDisk.MakeAsync(isDevice: false);
        await RequireAsync(disk, verb, ofFile);
    }

    [Theory]
    [MemberData(nameof(Verbs))]
    public async Task ADeviceKeepsItsBytes(string verb, string ofFile, string ofDevice)
    {
        _ = ofFile;
        using ForeignRawDisk disk = await ForeignRawDisk.MakeAsync(isDevice: true);
        await RequireAsync(disk, verb, ofDevice);
    }

    [Theory]
    [InlineData(false, 4 << 20, "", "")]
    [InlineData(false, (4 << 20) + 1536, "", "")]
    [InlineData(false, (4 << 20) + 1536, "cluster_size=512", "")]
    [InlineData(false, (4 << 20) + 1536, "cluster_size=2M", "")]
    [InlineData(false, (4 << 20) + 1536, "cluster_size=16k,extended_l2=on", "")]
    [InlineData(false, (4 << 20) + 65536 + 1536, "", "write -z 4M 65536")]
    [InlineData(false, (4 << 20) + 1536, "", "write -z 4M 1536")]
    [InlineData(false, (4 << 20) + 1536, "cluster_size=16k,extended_l2=on", "write -z 4M 1536")]
    [InlineData(true, (4 << 20) + 1536, "", "")]
    [InlineData(true, (4 << 20) + 1536, "cluster_size=16k,extended_l2=on", "write -z 4M 1536")]
    public async Task WhatLiesBehindTheEndBecomesTheDisks(bool isDevice, int oldSize, string options, string write)
    {
        Qemu.Require();
        using ForeignRawDisk disk = await ForeignRawDisk.MakeAsync(isDevice);
        string image = await disk.WrapAsync("c", oldSize, options);
        if (write.Length > 0)
        {
            await Qemu.IoOkAsync(image, write);
        }

        byte[] before = await disk.ReadAsync();
        Assert.Equal(write.Length == 0, before.AsSpan().SequenceEqual(disk.Original));
        await Support.Cli.OkAsync("bitmap", "--clear", image, "b");
        foreach (int size in new[] { oldSize + 512, 6 << 20, (7 << 20) - 1024, ForeignRawDisk.DiskBytes })
        {
            ProcessResult result = await disk.RunAsync("resize", image, $"{size}");
            Assert.True(result.ExitCode == 0, result.Error);
            await disk.AssertAsync(before, $"after {size}");
            await Qemu.ImgOkAsync("convert", "-O", "raw", image, disk.Folder.File("read"));
            Assert.True(
                (await File.ReadAllBytesAsync(disk.Folder.File("read"), Token)).AsSpan().SequenceEqual(before.AsSpan(0, size)), $"{size}");
            Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", image), StringComparison.Ordinal);
            int firstDirty = oldSize & -65536;
            Assert.Equal(
                [new DirtyExtent(0, firstDirty, false), new DirtyExtent(firstDirty, size - firstDirty, true)],
                await QemuBitmaps.ReadExtentsAsync(image, "b"));
        }
    }

    /// <summary>A commit goes on over zeros, and leaves what lies behind the disk's new end.</summary>
    [Theory]
    [InlineData(false, "")]
    [InlineData(true, "")]
    [InlineData(false, "cluster_size=16k,extended_l2=on")]
    public async Task ACommitThatGrowsTheBaseKeepsTheRest(bool isDevice, string options)
    {
        Qemu.Require();
        const int OldSize = HalfBytes + 1536;
        using ForeignRawDisk disk = await ForeignRawDisk.MakeAsync(isDevice, zerosFrom: OldSize, zerosEnd: 6 << 20);
        string @base = await disk.WrapAsync("c", OldSize, options);
        string over = disk.Folder.File("over");
        await Support.Cli.OkAsync("chain", "snapshot", @base, over);
        await Qemu.ImgOkAsync("resize", "-q", over, "6M");
        await Qemu.IoOkAsync(over, "write -P 7 1M 64k", "write -P 8 5M 64k");
        ProcessResult result = await disk.RunAsync("chain", "commit", over, @base);
        Assert.True(result.ExitCode == 0, result.Error);
        byte[] expected = [.. disk.Original];
        expected.AsSpan(1 << 20, 65536).Fill(7);
        expected.AsSpan(5 << 20, 65536).Fill(8);
        await disk.AssertAsync(expected, "committed");
        await Qemu.ImgOkAsync("convert", "-O", "raw", @base, disk.Folder.File("read"));
        Assert.True((await File.ReadAllBytesAsync(disk.Folder.File("read"), Token)).AsSpan().SequenceEqual(expected.AsSpan(0, 6 << 20)));
        Assert.Contains(
            new DirtyExtent(OldSize & -65536, (6 << 20) - (OldSize & -65536), true), await QemuBitmaps.ReadExtentsAsync(@base, "b"));
    }

    /// <summary>An overlay reads zeros behind its base's end, until that gets what its file has there; or what it cut off.</summary>
    [Theory]
    [InlineData("resize c 6M", "4M", false)]
    [InlineData("resize c 6M", "6M", true)]
    [InlineData("resize -q c 6M", "6M", false)]
    [InlineData("resize --shrink c 2M", "3M", true)]
    [InlineData("resize --shrink c 2M", "2M", false)]
    [InlineData("resize plain 6M", "6M", false)]
    [InlineData("resize --shrink plain 2M", "4M", true)]
    [InlineData("resize --shrink -f raw source 2M", "4M", true)]
    public async Task AnOverlayThatWillShowSomethingElseIsWarnedOf(string verb, string overlaySize, bool isWarned)
    {
        Qemu.Require();
        using ForeignRawDisk disk = await ForeignRawDisk.MakeAsync(isDevice: false);
        await disk.WrapAsync("c", HalfBytes);
        disk.Folder.Write("source", disk.Original[..HalfBytes]);
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", disk.Folder.File("plain"), "4M");
        string @base = verb.Split(' ')[^2];
        await Qemu.ImgOkAsync(
            "create", "-q", "-f", "qcow2", "-b", @base, "-F", @base == "source" ? "raw" : "qcow2", disk.Folder.File("over"), overlaySize);

        ProcessResult result = await disk.RunAsync([.. verb.Split(' ').Select(word => word == @base ? disk.Folder.File(word) : word)]);

        Assert.True(result.ExitCode == 0, result.Error);
        Assert.Equal(
            isWarned,
            result.Error.Contains($"'{disk.Folder.File("over")}' has ", StringComparison.Ordinal)
                && result.Error.Contains("may show something else afterwards", StringComparison.Ordinal));
    }

    /// <summary>A guest's zeros and discards end where the disk ends.</summary>
    [Theory]
    [InlineData(false, "")]
    [InlineData(true, "")]
    [InlineData(false, "cluster_size=16k,extended_l2=on")]
    public async Task AGuestReachesNothingBehindTheDisk(bool isDevice, string options)
    {
        const int Size = HalfBytes + 1536;
        using ForeignRawDisk disk = await ForeignRawDisk.MakeAsync(isDevice);
        string image = await disk.WrapAsync("c", Size, options);
        var open = new ChainOpenOptions { WritableLayers = [0], AllowedFolders = ["/dev"] };
        await using (ImageChain chain = await ImageChain.OpenAsync(image, open, Token))
        await using (Disk writer = await chain.OpenWriterAsync(Token))
        {
            await writer.WriteZerosAsync(Size - 100, 100, mayUnmap: true, Token);
            await writer.DiscardAsync(HalfBytes, Size - HalfBytes, Token);
            await writer.WriteAsync(Size - 10, new byte[] { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, Token);
        }

        byte[] expected = [.. disk.Original];
        expected.AsSpan(HalfBytes, 1536).Clear();
        new byte[] { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }.CopyTo(expected.AsSpan(Size - 10));
        await disk.AssertAsync(expected, "written");
    }

    /// <summary>An image around a disk shows it, and so does a copy of a disk to a raw data file that had something else.</summary>
    [Theory]
    [InlineData(false, "")]
    [InlineData(false, "extended_l2=on,cluster_size=16k")]
    [InlineData(true, "")]
    [InlineData(true, "extended_l2=on,cluster_size=16k")]
    public async Task ARawDataFileReadsAsTheDisk(bool isDevice, string options)
    {
        Qemu.Require();
        using ForeignRawDisk disk = await ForeignRawDisk.MakeAsync(isDevice);
        string image = await disk.WrapAsync("c", HalfBytes, options);
        Assert.StartsWith(
            "Images are identical.",
            await Qemu.ImgOkAsync("compare", "-f", "qcow2", "-F", "raw", image, disk.Folder.Write("half", disk.Original[..HalfBytes])),
            StringComparison.Ordinal);
        if (isDevice)
        {
            string source = disk.Folder.File("zeros");
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", source, $"{HalfBytes}");
            await Qemu.IoOkAsync(source, "write -P 1 1M 1M");
            await Support.Cli.OkAsync(
                "convert", "-O", "qcow2", "-o", $"data_file={disk.Path},data_file_raw=on{(options.Length > 0 ? "," : "")}{options}", source,
                disk.Folder.File("new"));
            Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", source, disk.Folder.File("new")));
            byte[] expected = [.. disk.Original];
            expected.AsSpan(0, HalfBytes).Clear();
            expected.AsSpan(1 << 20, 1 << 20).Fill(1);
            await disk.AssertAsync(expected, "copied");
        }
    }

    [Fact]
    public async Task AFileThatDoesNotReadAsTheDiskIsNotShown()
    {
        Qemu.Require();
        using ForeignRawDisk disk = await ForeignRawDisk.MakeAsync(isDevice: false);
        string image = await disk.WrapAsync("c", HalfBytes + 1536);
        await Qemu.IoOkAsync(image, "write -z 4M 1536");
        await File.WriteAllBytesAsync(disk.Path, disk.Original, Token);
        byte[] before = await File.ReadAllBytesAsync(image, Token);
        ProcessResult result = await disk.RunAsync("resize", image, "6M");
        Assert.Equal(1, result.ExitCode);
        Assert.Contains($"has data at byte {HalfBytes}, where the disk reads as zeros", result.Error, StringComparison.Ordinal);
        await disk.AssertAsync(disk.Original, "refused");
        Assert.Equal(before, await File.ReadAllBytesAsync(image, Token));
    }

    private static async Task RequireAsync(ForeignRawDisk disk, string verb, string outcome)
    {
        string c = await disk.WrapAsync("c", HalfBytes);
        await disk.WrapAsync("whole", ForeignRawDisk.DiskBytes);
        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", "-u", "-b", "c", "-F", "qcow2", disk.Folder.File("over"), "6M");
        byte[] source = [.. Enumerable.Repeat((byte)0x11, HalfBytes)];
        disk.Folder.Write("source", source);
        if (verb.StartsWith("backup", StringComparison.Ordinal))
        {
            await Support.Cli.OkAsync("backup", "full", "-f", "raw", disk.Folder.File("source"), disk.Folder.File("saved"));
        }

        await disk.AssertAsync(disk.Original, "before");
        Dictionary<string, byte[]> files = ReadAll(disk);
        ProcessResult result = await disk.RunAsync([.. verb.Split(' ').Select(word => Resolve(disk, word))]);
        Assert.True(result.ExitCode == (outcome == Refused ? 1 : 0), $"exit {result.ExitCode}: {result.Output}{result.Error}");
        byte[] expected = [.. disk.Original];
        if (outcome == Written)
        {
            source.CopyTo(expected, 0);
        }
        else if (outcome is not (Refused or Kept))
        {
            Array.Resize(
                ref expected,
                outcome[^1] == 'M'
                    ? int.Parse(outcome[..^1], System.Globalization.CultureInfo.InvariantCulture) << 20
                    : int.Parse(outcome, System.Globalization.CultureInfo.InvariantCulture));
        }

        await disk.AssertAsync(expected, verb);
        if (outcome == Refused)
        {
            Dictionary<string, byte[]> now = ReadAll(disk);
            Assert.Equal(files.Keys.Order(), now.Keys.Order());
            Assert.All(files, pair => Assert.True(now[pair.Key].AsSpan().SequenceEqual(pair.Value), pair.Key));
        }
        else
        {
            Assert.Equal(0, (await Support.Cli.RunAsync("check", c)).ExitCode);
        }
    }

    private static string Resolve(ForeignRawDisk disk, string word) => word switch
    {
        "c" or "whole" or "over" or "source" or "new" or "saved" => disk.Folder.File(word),
        "DISK" => disk.Path,
        _ => word.Replace("data_file=DISK", "data_file=" + disk.Path, StringComparison.Ordinal),
    };

    private static Dictionary<string, byte[]> ReadAll(ForeignRawDisk disk) =>
        Directory.GetFiles(disk.Folder.Path)
            .Where(static path => !path.EndsWith("disk.img", StringComparison.Ordinal))
            .ToDictionary(static path => path, File.ReadAllBytes);
}
