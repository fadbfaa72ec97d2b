using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Creation;

/// <summary>Images as files: what QEMU does with them, data files, what is in the way, what is left when the making fails.</summary>
public sealed class CreateFilesTests
{
    private static readonly Qcow2CreateOptions s_plain = new() { SizeBytes = 1 << 20 };

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("size=3M")]
    [InlineData("size=3M,cluster_size=512,preallocation=metadata,refcount_bits=64")]
    [InlineData("size=40M,cluster_size=512,preallocation=metadata,refcount_bits=1")]
    [InlineData("size=3M,extended_l2=on,cluster_size=16k,preallocation=metadata")]
    [InlineData("size=3M,lazy_refcounts=on,compression_type=zstd,refcount_bits=2")]
    [InlineData("size=3M,data_file=FOLDER/d")]
    [InlineData("size=3M,data_file=FOLDER/d,preallocation=metadata")]
    [InlineData("size=3M,data_file=FOLDER/d,data_file_raw=on,cluster_size=4k")]
    public async Task QemuWorksOnWhatWeMake(string options)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = folder.File("x");

        ProcessResult made = await RunAsync(
            "-q", "-f", "qcow2", "-o", options.Replace("FOLDER", folder.Path, StringComparison.Ordinal), path);
        await Qemu.ImgOkAsync("bitmap", "--add", "-g", "4k", path, "b");
        await Qemu.IoOkAsync(
            path, "write -P 1 0 70000", "write -P 2 3000000 100000", "discard 65536 65536", "write -z 200k 300k",
            "read -P 2 3000000 100000");

        Assert.Equal((0, "", ""), (made.ExitCode, made.Output, made.Error));
        string check = await Qemu.ImgOkAsync("check", path);
        Assert.StartsWith("No errors were found on the image.\n", check, StringComparison.Ordinal);
        Assert.Equal(check, (await Support.Cli.RunAsync("check", path)).Output);
        Assert.Contains("name: b", await Qemu.ImgOkAsync("info", path), StringComparison.Ordinal);
        Assert.Equal(0, (await Support.Cli.RunAsync("bitmap", "--add", path, "c")).ExitCode);
        Assert.StartsWith("No errors were found on the image.\n", await Qemu.ImgOkAsync("check", path), StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnOverlayShowsItsBackingFile()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder.File("sub"));
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", folder.File("sub/base"), "5M");
        await Qemu.IoOkAsync(folder.File("sub/base"), "write -P 7 1M 1M");

        ProcessResult made = await RunAsync("-f", "qcow2", "-b", "base", "-F", "qcow2", folder.File("sub/x"));

        Assert.Equal(0, made.ExitCode);
        Assert.Equal(0, (await Qemu.ImgAsync("compare", folder.File("sub/base"), folder.File("sub/x"))).ExitCode);
        Assert.Equal(
            (await Qemu.ImgAsync("info", "--backing-chain", folder.File("sub/x"))).Output,
            (await Support.Cli.RunAsync("info", "--backing-chain", folder.File("sub/x"))).Output);
    }

    [Theory]
    [InlineData(1 << 20, "1048576")]
    [InlineData(1_000_001, "1000448")]
    [InlineData(0, "0")]
    public async Task ARawDiskThatIsKeptGetsAnImageAroundIt(int length, string size)
    {
        using var folder = new TempFolder();
        byte[] disk = [.. Enumerable.Range(0, length).Select(static i => (byte)(i % 251))];
        string raw = folder.Write("disk", disk);
        File.SetAttributes(raw, FileAttributes.ReadOnly);

        ProcessResult made = await RunAsync("-f", "qcow2", "-o", $"data_file={raw},data_file_raw=on,keep_data_file=on", folder.File("x"));

        Assert.Equal((0, ""), (made.ExitCode, made.Error));
        Assert.Contains($" size={size} data_file={raw} data_file_raw=on keep_data_file=on ", made.Output, StringComparison.Ordinal);
        Assert.Equal(disk, await File.ReadAllBytesAsync(raw, Token));
        Assert.Equal(0, (await Support.Cli.RunAsync("check", folder.File("x"))).ExitCode);
        if (!Qemu.IsHere || length == 0)
        {
            return;
        }

        File.SetAttributes(raw, FileAttributes.Normal);
        Assert.Equal(0, (await Qemu.ImgAsync("compare", "-f", "raw", "-F", "qcow2", raw, folder.File("x"))).ExitCode);
        await Qemu.ImgOkAsync("bitmap", "--add", folder.File("x"), "b");
        await Qemu.IoOkAsync(folder.File("x"), "write -P 9 65536 4096");
        disk.AsSpan(65536, 4096).Fill(9);
        Assert.Equal(disk, (await File.ReadAllBytesAsync(raw, Token))[..length]);
        Assert.Equal(
            [new(0, 65536, false), new(65536, 65536, true), new(
                131072, long.Parse(size, System.Globalization.CultureInfo.InvariantCulture) - 131072, false)],
            await QemuBitmaps.ReadExtentsAsync(folder.File("x"), "b"));
        Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", folder.File("x")), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ADiskThatIsKeptMustBeThereAndLargeEnough()
    {
        using var folder = new TempFolder();
        string raw = folder.Write("disk", [1, 2, 3]);
        string options = $"data_file={raw},data_file_raw=on,keep_data_file=on";

        ProcessResult larger = await RunAsync("-f", "qcow2", "-o", options, folder.File("x"), "513");
        ProcessResult absent = await RunAsync(
            "-f", "qcow2", "-o", options.Replace("/disk", "/nothing", StringComparison.Ordinal), folder.File("x"), "512");
        ProcessResult notRaw = await RunAsync("-f", "qcow2", "-o", $"data_file={raw},keep_data_file=on", folder.File("x"), "512");

        Assert.Equal(1, larger.ExitCode);
        Assert.Contains("is kept as it is and has 3 bytes: a disk of 1024 bytes does not fit", larger.Error, StringComparison.Ordinal);
        Assert.Equal(1, absent.ExitCode);
        Assert.Contains("nothing': No such file", absent.Error, StringComparison.Ordinal);
        Assert.Contains("keep_data_file requires data_file_raw", notRaw.Error, StringComparison.Ordinal);
        Assert.Equal([raw], Directory.GetFiles(folder.Path));
        Assert.Equal([1, 2, 3], await File.ReadAllBytesAsync(raw, Token));
        // Less than the disk is possible, as with a volume that is larger than the disk on it.
        Assert.Equal(0, (await RunAsync("-f", "qcow2", "-o", options, folder.File("x"), "0")).ExitCode);
    }

    [Fact]
    public async Task ADataFileIsRelativeToTheCurrentFolder()
    {
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder.File("sub"));

        ProcessResult made = await Tool.RunAsync(
            folder.Path, "create", "-f", "qcow2", "-o",
            "data_file=d", "sub/x", "1M");

        // A data file outside the image's folder is warned of.
        Assert.True(made.ExitCode == 0, made.Error);
        Assert.Equal(1 << 20, SparseFiles.LengthOf(folder.File("d")));
        if (Qemu.IsHere)
        {
            ProcessResult written = await Qemu.RunAsync("qemu-io", folder.Path, "-f", "qcow2", "-c", "write -P 3 0 64k", "sub/x");
            Assert.Equal((0, ""), (written.ExitCode, written.Error));
        }
    }

    [Fact]
    public async Task AFileThatIsThereIsOverwritten()
    {
        using var folder = new TempFolder();
        string path = folder.Write("x", new TestImage().WithBitmap("b", bits: [1]).Build());
        string data = folder.Write("d", [1, 2, 3]);
        File.CreateSymbolicLink(folder.File("link"), path);
        byte[] before = await File.ReadAllBytesAsync(path, Token);

        // But no data file that has anything.
        IOException refusal = await Assert.ThrowsAsync<IOException>(
            () => Qcow2Image.CreateAsync(folder.File("link"), s_plain with { DataFile = data }, Token));
        Assert.Contains($"'{data}' exists and has data, first at byte 0", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(before, await File.ReadAllBytesAsync(path, Token));
        Assert.Equal([1, 2, 3], await File.ReadAllBytesAsync(data, Token));
        folder.Write("d", [0, 0, 0]);

        await Qcow2Image.CreateAsync(folder.File("link"), s_plain with { DataFile = data }, Token);

        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        Assert.Empty(image.Bitmaps);
        Assert.Equal(new byte[1 << 20], await File.ReadAllBytesAsync(data, Token));
        Assert.Equal(path, new FileInfo(folder.File("link")).LinkTarget);
    }

    [Fact]
    public async Task AnImageInUseIsLeftAlone()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = folder.Write("x", new TestImage().Build());
        byte[] before = await File.ReadAllBytesAsync(path, Token);
        await using (await QemuIoHolder.StartAsync(path))
        {
            ImageLockedException refusal = await Assert.ThrowsAsync<ImageLockedException>(
                () => Qcow2Image.CreateAsync(path, s_plain, Token));
            Assert.Contains("Is another process using the image", refusal.Message, StringComparison.Ordinal);
            // Nor is it a data file, nor a raw image.
            await Assert.ThrowsAsync<ImageLockedException>(
                () => Qcow2Image.CreateAsync(folder.File("y"), s_plain with { DataFile = path }, Token));
            await Assert.ThrowsAsync<ImageLockedException>(() => Disk.CreateRawAsync(path, 512, cancellationToken: Token));
            // A running VM's image can have an overlay, as with QEMU.
            Assert.Equal(0, (await RunAsync("-q", "-f", "qcow2", "-b", "x", "-F", "qcow2", folder.File("overlay"))).ExitCode);
            Assert.False(Path.Exists(folder.File("y")));
        }

        Assert.Equal(before, await File.ReadAllBytesAsync(path, Token));
    }

    [Fact]
    public async Task NothingIsLeftOfWhatFails()
    {
        using var folder = new TempFolder();
        string precious = folder.Write("precious", [1, 2, 3]);

        // The data file's folder is not there; the image is its own data file; the options are refused.
        await Assert.ThrowsAnyAsync<IOException>(
            () => Qcow2Image.CreateAsync(folder.File("x"), s_plain with { DataFile = folder.File("no/where") }, Token));
        await Assert.ThrowsAnyAsync<IOException>(
            () => Qcow2Image.CreateAsync(folder.File("x"), s_plain with { DataFile = folder.File("x") }, Token));
        await Assert.ThrowsAnyAsync<IOException>(
            () => Qcow2Image.CreateAsync(folder.File("x"), s_plain with { DataFile = folder.File("./x") }, Token));
        await Assert.ThrowsAsync<ArgumentException>(() => Qcow2Image.CreateAsync(precious, s_plain with { ClusterSizeBytes = 3 }, Token));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() =>
            Qcow2Image.CreateAsync(folder.File("x"), s_plain with { DataFile = folder.File("d") }, new CancellationToken(canceled: true)));
        if (!folder.HoldsFilesOf(7L << 60))
        {
            await Assert.ThrowsAsync<IOException>(() => Disk.CreateRawAsync(folder.File("x"), 7L << 60, cancellationToken: Token));
            await Assert.ThrowsAsync<IOException>(() => Qcow2Image.CreateAsync(
                folder.File("x"), new Qcow2CreateOptions { SizeBytes = 1L << 60, ClusterSizeBytes = 2 << 20, DataFile = folder.File("d") },
                Token));
        }

        Assert.Equal([precious], Directory.GetFiles(folder.Path));
        Assert.Equal([1, 2, 3], await File.ReadAllBytesAsync(precious, Token));
    }

    [Fact]
    public async Task BlockDevices()
    {
        using var folder = new TempFolder();
        using var devices = new LoopDevices();
        byte[] old = new byte[2 << 20];
        old.AsSpan().Fill(0xaa);
        string device = await devices.AttachAsync(folder.Write("disk", old));

        NoSpaceException tooSmall = await Assert.ThrowsAsync<NoSpaceException>(
            () => Qcow2Image.CreateAsync(device, s_plain with { SizeBytes = 10 << 20, Preallocation = Preallocation.Metadata }, Token));
        Assert.Contains(
            $"'{device}' is too small, no space: 10813440 bytes are needed in all, 2097152 are there; extend the volume first",
            tooSmall.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<NoSpaceException>(() => Disk.CreateRawAsync(device, 3 << 20, cancellationToken: Token));
        await Disk.CreateRawAsync(device, 1 << 20, cancellationToken: Token);
        await Qcow2Image.CreateAsync(device, s_plain with { Preallocation = Preallocation.Metadata }, Token);

        Assert.Equal(0, (await Support.Cli.RunAsync("check", device)).ExitCode);
        if (Qemu.IsHere)
        {
            await Qemu.IoOkAsync(device, "read -P 0 0 1M", "write -P 1 5000 100000", "read -P 1 5000 100000");
            Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", device), StringComparison.Ordinal);
        }

        // As data files: one that must not show its old bytes, and one that is kept.
        await Qcow2Image.CreateAsync(folder.File("x"), s_plain with { DataFile = device, Preallocation = Preallocation.Metadata }, Token);
        await Qcow2Image.CreateAsync(folder.File("y"), s_plain with { DataFile = device, DataFileRaw = true, KeepDataFile = true }, Token);
        await Assert.ThrowsAsync<NoSpaceException>(
            () => Qcow2Image.CreateAsync(folder.File("z"), s_plain with { DataFile = device, SizeBytes = 3 << 20 }, Token));
        Assert.False(Path.Exists(folder.File("z")));
        if (Qemu.IsHere)
        {
            await Qemu.IoOkAsync(folder.File("x"), "read -P 0 0 1M");
            await Qemu.IoOkAsync(folder.File("y"), "read -P 0xaa 600k 100k");
        }
    }

    [Fact]
    public async Task NothingButFilesAndBlockDevicesIsWritten()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "FIFOs and devices are Linux's");
        using var folder = new TempFolder();
        using (var mkfifo = System.Diagnostics.Process.Start("mkfifo", [folder.File("fifo")]))
        {
            await mkfifo.WaitForExitAsync(Token);
        }

        File.CreateSymbolicLink(folder.File("link"), folder.File("fifo"));
        foreach (string path
            in new[]
            {
                folder.File("fifo"),
                folder.File("link"),
                "/dev/null",
                "/dev/full",
                folder.Path,
                "",
                "a\0b",
                folder.File("no/where"),
            })
        {
            await Assert.ThrowsAnyAsync<IOException>(() => Qcow2Image.CreateAsync(path, s_plain, Token));
            await Assert.ThrowsAnyAsync<IOException>(() => Disk.CreateRawAsync(path, 512, cancellationToken: Token));
        }

        // A link that leads nowhere is not followed.
        File.CreateSymbolicLink(folder.File("nowhere"), folder.File("absent"));
        await Assert.ThrowsAnyAsync<IOException>(() => Qcow2Image.CreateAsync(folder.File("nowhere"), s_plain, Token));
        Assert.False(Path.Exists(folder.File("absent")));
    }

    [Fact]
    public async Task NewFilesCanBeReadByAll()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Modes are Unix's");
        using var folder = new TempFolder();

        await Qcow2Image.CreateAsync(folder.File("x"), s_plain, Token);

        // As far as the umask lets them.
        Assert.Matches("^6[04][04]\n$", (await Qemu.RunAsync("stat", null, "-c", "%a", folder.File("x"))).Output);
    }

    private static Task<ProcessResult> RunAsync(params string[] arguments) => Support.Cli.RunAsync(["create", .. arguments]);
}
