using System.Diagnostics;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Storage;

/// <summary>We and QEMU honour each other's locks, both ways.</summary>
public sealed class LockTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task AnImageThatQemuWritesIsRefused()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = await CreateAsync(folder);
        await using var writer = await QemuIoHolder.StartAsync(path);

        foreach (ImageLock kind in new[] { ImageLock.Inspect, ImageLock.Read, ImageLock.Write })
        {
            ImageLockedException refusal = Assert.Throws<ImageLockedException>(() => FileStorage.Open(path, FileAccess.ReadWrite, kind));
            Assert.Contains("Is another process using the image", refusal.Message, StringComparison.Ordinal);
            Assert.Equal(path, refusal.Path);
        }

        ProcessResult info = await Support.Cli.RunAsync("info", path);
        ProcessResult qemuInfo = await Qemu.ImgAsync("info", path);
        Assert.Equal(1, info.ExitCode);
        Assert.Equal(qemuInfo.Error.Replace("qemu-img: ", "qcow2bitmaps: ", StringComparison.Ordinal), info.Error);
        Assert.Contains("Failed to get shared \"write\" lock", info.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnImageThatQemuWritesCanBeSharedAndIsReportedAsOpenElsewhere()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = await CreateAsync(folder);
        await using (await QemuIoHolder.StartAsync(path))
        {
            ProcessResult shared = await Support.Cli.RunAsync("info", "-U", path);
            Assert.Equal(0, shared.ExitCode);
            Assert.Equal((await Qemu.ImgAsync("info", "-U", path)).Output, shared.Output);
            Assert.Contains("in-use", shared.Output, StringComparison.Ordinal);

            ProcessResult check = await Support.Cli.RunAsync("chain", "check", "-U", "--output", "json", path);
            Assert.Equal(2, check.ExitCode);
            Assert.Contains("\"open-elsewhere\": true", check.Output, StringComparison.Ordinal);
            Assert.Contains("\"reason\": \"open-elsewhere\"", check.Output, StringComparison.Ordinal);
            Assert.DoesNotContain("inconsistent", check.Output, StringComparison.Ordinal);
            Assert.Contains(
                "open for writing", (await Support.Cli.RunAsync("chain", "check", "-U", path)).Output, StringComparison.Ordinal);

            Assert.Equal(1, (await Support.Cli.RunAsync("chain", "check", path)).ExitCode);
        }

        // Once the writer has closed the image, the bitmap is what it should be.
        Assert.Equal(0, (await Support.Cli.RunAsync("chain", "check", path)).ExitCode);
    }

    [Fact]
    public async Task ABitmapThatARunningProcessMayHaveInMemoryIsNotCalledMissing()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string basePath = await CreateAsync(folder);
        string top = folder.File("top.qcow2");
        await Qemu.ImgOkAsync("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", top);
        await using (await QemuIoHolder.StartAsync(top))
        {
            ProcessResult check = await Support.Cli.RunAsync("chain", "check", "-U", "--output", "json", top);
            Assert.Equal(2, check.ExitCode);
            Assert.Contains("\"reason\": \"open-elsewhere\"", check.Output, StringComparison.Ordinal);
            Assert.DoesNotContain("missing-in-top", check.Output, StringComparison.Ordinal);
        }

        Assert.Contains("missing-in-top", (await Support.Cli.RunAsync("chain", "check", top)).Output, StringComparison.Ordinal);
        await using (await QemuIoHolder.StartAsync(basePath))
        {
            ProcessResult extents = await Support.Cli.RunAsync("extents", "-U", basePath, "a");
            Assert.Equal((1, ""), (extents.ExitCode, extents.Output));
            Assert.Contains("another process has the image open for writing", extents.Error, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task ReadersOfBothKindsGetAlong()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = await CreateAsync(folder);
        await using var reader = await QemuIoHolder.StartAsync(path, "-r");

        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        Assert.False(image.IsOpenForWritingElsewhere());
        await Qemu.ImgOkAsync("check", path);
        ImageLockedException refusal = Assert.Throws<ImageLockedException>(
            () => FileStorage.Open(path, FileAccess.ReadWrite, ImageLock.Write));
        Assert.Contains("Failed to get \"write\" lock", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task QemuIsRefusedWhileWeWrite()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = await CreateAsync(folder);
        await using (FileStorage.Open(path, FileAccess.ReadWrite, ImageLock.Write))
        {
            Assert.Contains("Failed to get shared \"write\" lock", (await Qemu.ImgAsync("info", path)).Error, StringComparison.Ordinal);
            Assert.Contains("Failed to get", (await Qemu.ImgAsync("bitmap", "--add", path, "b")).Error, StringComparison.Ordinal);
            Assert.Contains("Failed to get", (await Qemu.ImgAsync("check", path)).Error, StringComparison.Ordinal);
            await Qemu.ImgOkAsync("info", "-U", path);
            await Qemu.ImgOkAsync("check", "-U", path);
        }

        await Qemu.ImgOkAsync("bitmap", "--add", path, "b");
    }

    [Fact]
    public async Task QemuDoesNotWriteWhileWeRead()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = await CreateAsync(folder);
        await using (await Qcow2Image.OpenAsync(path, cancellationToken: Token))
        {
            Assert.Contains(
                "Failed to get \"write\" lock", (await Qemu.ImgAsync("bitmap", "--add", path, "b")).Error, StringComparison.Ordinal);
            await Qemu.ImgOkAsync("info", path);
        }

        var shared = new Qcow2OpenOptions { Lock = ImageLock.SharedRead };
        await using (await Qcow2Image.OpenAsync(path, options: shared, cancellationToken: Token))
        {
            await Qemu.ImgOkAsync("bitmap", "--add", path, "b");
        }
    }

    [Fact]
    public async Task LocksOutliveOtherHandlesOfTheSameFile()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = await CreateAsync(folder);
        await using var writer = FileStorage.Open(path, FileAccess.ReadWrite, ImageLock.Write);

        // Classic record locks would be lost here.
        await using (FileStorage.Open(path, FileAccess.Read, ImageLock.None))
        {
        }

        Assert.Contains("Failed to get", (await Qemu.ImgAsync("info", path)).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task TwoHandlesOfOneProcessExcludeEachOther()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Locks are Linux's");
        using var folder = new TempFolder();
        string path = folder.Write("a", new TestImage().Build());
        await using (FileStorage.Open(path, FileAccess.ReadWrite, ImageLock.Write))
        {
            Assert.Throws<ImageLockedException>(() => FileStorage.Open(path));
            await using var shared = FileStorage.Open(path, FileAccess.Read, ImageLock.None);
            Assert.True(shared.IsOpenForWritingElsewhere());
        }

        await using var first = FileStorage.Open(path);
        await using var second = FileStorage.Open(path);
        Assert.False(second.IsOpenForWritingElsewhere());
        Assert.Throws<ImageLockedException>(() => FileStorage.Open(path, FileAccess.ReadWrite, ImageLock.Write));
    }

    [Fact]
    public async Task AStorageDaemonThatWritesIsSeenThroughTheWholeChain()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string basePath = await CreateAsync(folder);
        string top = folder.File("top.qcow2");
        await Qemu.ImgOkAsync("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", top);
        await Qemu.ImgOkAsync("bitmap", "--add", top, "a");
        string socket = folder.File("sock");
        using Process daemon = Qemu.Start(
            "qemu-storage-daemon", folder.Path,
            "--blockdev", $"driver=qcow2,node-name=n,file.driver=file,file.filename={basePath}",
            "--chardev", $"socket,id=c,path={socket},server=on,wait=off", "--monitor", "chardev=c",
            "--pidfile", folder.File("pid"));
        try
        {
            await WaitForFileAsync(folder.File("pid"));
            ProcessResult refused = await Support.Cli.RunAsync("chain", "check", top);
            Assert.Equal(1, refused.ExitCode);
            Assert.Contains($"Could not open '{basePath}': Failed to get shared \"write\" lock", refused.Error, StringComparison.Ordinal);

            var options = new ChainOpenOptions { Image = new Qcow2OpenOptions { Lock = ImageLock.SharedRead } };
            await using ImageChain chain = await ImageChain.OpenAsync(top, options, Token);
            Assert.Equal([false, true], chain.Layers.Select(static layer => layer.IsOpenForWritingElsewhere));
            BitmapVerdict verdict = Assert.Single(
                (await chain.JudgeBitmapsAsync(cancellationToken: TestContext.Current.CancellationToken)));
            Assert.Equal((InvalidReason.OpenElsewhere, 1), (verdict.Reason, verdict.ImageIndex));
            Assert.Contains(chain.Layers[1].RequireImage().Bitmaps, static b => b.Flags.HasFlag(BitmapFlags.InUse));
        }
        finally
        {
            daemon.Kill();
            await daemon.WaitForExitAsync(Token);
        }
    }

    private static async Task<string> CreateAsync(TempFolder folder)
    {
        string path = folder.File("base.qcow2");
        await Qemu.ImgOkAsync("create", "-f", "qcow2", path, "1M");
        await Qemu.ImgOkAsync("bitmap", "--add", path, "a");
        return path;
    }

    private static Task WaitForFileAsync(string path) => Patience.UntilAsync(() => new FileInfo(path).Exists, $"{path} appears");
}
