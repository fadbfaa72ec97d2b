using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>Restoring to what is there already: a block device with old bytes, and a file, which is left alone.</summary>
public sealed class RestoreTargetTests
{
    [Theory]
    [InlineData("raw", 512)]
    [InlineData("qcow2", 512)]
    [InlineData("raw", 4096)]
    public async Task ABlockDeviceBecomesTheDiskWhateverItHad(string format, int sectorBytes)
    {
        using var folder = new TempFolder();
        using var devices = new LoopDevices();
        BackupScene scene = await ChainAsync(folder);
        byte[] old = new byte[12 << 20];
        old.AsSpan().Fill(0xaa);
        string device = await devices.AttachAsync(folder.Write("device", old), sectorBytes);
        ProcessResult restored = await Support.Cli.RunAsync("backup", "restore", "-O", format, scene.Backup("two"), device);
        Assert.True(restored.ExitCode == 0, restored.Error);
        if (format == "raw")
        {
            // What is behind the disk's end is not the disk's.
            await RawIoOkAsync(device, "read -P 0xaa 8M 4M");
            await using FileStream file = File.OpenRead(device);
            byte[] first = new byte[8 << 20];
            await file.ReadExactlyAsync(first, BackupScene.Token);
            await Qemu.ImgOkAsync("compare", "-f", "raw", "-F", "qcow2", folder.Write("first", first), scene.Disk);
        }
        else
        {
            Assert.Equal("Images are identical.\n", await Qemu.ImgOkAsync("compare", "-f", "qcow2", "-F", "qcow2", device, scene.Disk));
            await Qemu.ImgOkAsync("check", "-f", "qcow2", device);
        }

        Assert.DoesNotContain(
            scene.Names(),
            static name => name.StartsWith("loop", StringComparison.Ordinal) || name.EndsWith(".partial", StringComparison.Ordinal));

        // Another point, over that.
        await DiskBackup.RestoreAsync(scene.Backup("two"), device, format == "raw", checkpoint: "c", cancellationToken: BackupScene.Token);
        string[] reads = ["read -P 1 0 6M", "read -P 0 6M 2M"];
        await (format == "raw" ? RawIoOkAsync(device, reads) : Qemu.IoOkAsync(device, reads));
    }

    [Fact]
    public async Task ABlockDeviceThatIsTooSmallOrInUseIsNotTouched()
    {
        using var folder = new TempFolder();
        using var devices = new LoopDevices();
        BackupScene scene = await ChainAsync(folder);
        byte[] old = new byte[4 << 20];
        old.AsSpan().Fill(0xaa);
        string device = await devices.AttachAsync(folder.Write("device", old));
        NoSpaceException refused = await Assert.ThrowsAsync<NoSpaceException>(
            () => DiskBackup.RestoreAsync(scene.Backup("two"), device, isRaw: true, cancellationToken: BackupScene.Token));
        Assert.Contains("too small", refused.Message, StringComparison.Ordinal);
        await RawIoOkAsync(device, "read -P 0xaa 0 4M");
        string large = await devices.AttachAsync(folder.Write("large", new byte[9 << 20]));
        await using (await QemuIoHolder.StartAsync(large, "-f", "raw"))
        {
            await Assert.ThrowsAsync<ImageLockedException>(
                () => DiskBackup.RestoreAsync(scene.Backup("two"), large, isRaw: true, cancellationToken: BackupScene.Token));
        }
    }

    [Theory]
    [InlineData("raw")]
    [InlineData("qcow2")]
    public async Task AFileThatExistsIsLeftAsItIs(string format)
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await ChainAsync(folder);
        string target = folder.Write("there", [1, 2, 3]);
        string[] before = scene.Names();
        ProcessResult refused = await Support.Cli.RunAsync("backup", "restore", "-O", format, scene.Backup("two"), target);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("exists: a disk is restored to a new file, or to a block device", refused.Error, StringComparison.Ordinal);
        Assert.Equal([1, 2, 3], await File.ReadAllBytesAsync(target, BackupScene.Token));
        // A link that leads to it is no way round that.
        File.CreateSymbolicLink(folder.File("link"), target);
        Assert.Equal(1, (await Support.Cli.RunAsync("backup", "restore", "-O", format, scene.Backup("two"), folder.File("link"))).ExitCode);
        File.Delete(folder.File("link"));
        Assert.Equal([1, 2, 3], await File.ReadAllBytesAsync(target, BackupScene.Token));
        Assert.Equal(before, scene.Names());
    }

    /// <summary>The bitmap is in each image of a chain; what an unfinished backup has copied becomes clean in all of them.</summary>
    [Fact]
    public async Task ModeAlwaysGoesOnOverSeveralLayers()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await scene.WriteAsync("write -P 2 0 2M");
        string mid = folder.File("mid.qcow2");
        string top = folder.File("top.qcow2");
        Assert.Equal(0, (await Support.Cli.RunAsync("chain", "snapshot", scene.Disk, mid)).ExitCode);
        await Qemu.IoOkAsync(mid, "write -P 3 1M 3M");
        Assert.Equal(0, (await Support.Cli.RunAsync("chain", "snapshot", mid, top)).ExitCode);
        await Qemu.IoOkAsync(top, "write -P 4 3M 3M", "write -z 5M 512k");
        var always = new BackupOptions { Since = "c", Mode = BitmapSyncMode.Always, Workers = 1 };
        Task TakeAsync(IProgress<OperationProgress>? fuse = null) =>
            DiskBackup.TakeAsync([new BackupDisk(top, scene.Backup("one"))], always, fuse, BackupScene.Token);
        await Assert.ThrowsAsync<IOException>(() => TakeAsync(new CopyFuse(3 << 20, null)));
        Assert.Contains("one.partial", scene.Names());
        // What is copied is clean over the chain, and the rest is not.
        Assert.InRange(await DirtyAsync(), 1, 5 << 20);

        await Qemu.IoOkAsync(top, "write -P 5 64k 64k", "write -P 6 7M 64k");
        await Assert.ThrowsAsync<IOException>(() => TakeAsync(new CopyFuse(5 << 20, null)));
        await Qemu.IoOkAsync(top, "write -P 8 4M 64k", "discard 1M 64k");
        await TakeAsync();
        Assert.Equal(0, await DirtyAsync());
        string restored = scene.Backup("restored");
        await DiskBackup.RestoreAsync(scene.Backup("one"), restored, isRaw: false, cancellationToken: BackupScene.Token);
        await BackupScene.AssertSameAsync(restored, top);

        await Qemu.IoOkAsync(top, "write -P 10 0 64k");
        await DiskBackup.TakeAsync(
            [new BackupDisk(top, scene.Backup("two"))], new BackupOptions { Since = "c" }, cancellationToken: BackupScene.Token);
        File.Delete(restored);
        await DiskBackup.RestoreAsync(scene.Backup("two"), restored, isRaw: false, cancellationToken: BackupScene.Token);
        await BackupScene.AssertSameAsync(restored, top);

        async Task<long> DirtyAsync()
        {
            await using ImageChain chain = await ImageChain.OpenAsync(top, cancellationToken: BackupScene.Token);
            return await chain.CountDirtyBytesAsync("c", BackupScene.Token);
        }
    }

    private static async Task RawIoOkAsync(string device, params string[] commands)
    {
        ProcessResult result = await Qemu.RunAsync(
            "qemu-io", null, ["-f", "raw", .. commands.SelectMany(static command => new[] { "-c", command }), device]);
        Assert.True(result.ExitCode == 0 && !result.Output.Contains("failed", StringComparison.Ordinal), result.Output + result.Error);
    }

    /// <summary>A full backup and two on top of it; the last is what the disk is.</summary>
    private static async Task<BackupScene> ChainAsync(TempFolder folder)
    {
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await scene.WriteAsync("write -P 2 1M 1M", "write -P 3 7M 64k");
        await scene.TakeAsync("one", new BackupOptions { Since = "c", Checkpoint = "d" });
        await scene.WriteAsync("write -z 1M 512k", "write -P 4 5M 64k");
        await scene.TakeAsync("two", new BackupOptions { Since = "d" });
        return scene;
    }
}
