using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>Backups that are stopped, cancelled, or that fail: nothing is lost, and nothing is taken for whole that is not.</summary>
public sealed class BackupStopTests
{
    [Fact]
    public async Task AStopBeforeACheckpointStartsLeavesABackupThatNoneIsBuiltOn()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        using var stops = TempFolder.InMemory();
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" }, atStep: step => scene.CopyTo(stops.File(step)));
        Assert.Equal(4, Directory.GetDirectories(stops.Path).Length);

        // Only unfinished names, and no checkpoint: taken again, it starts anew.
        scene.GoBackTo(stops.File("copied"));
        Assert.Equal(["disk.qcow2", "full.partial"], scene.Names());
        Assert.False(await scene.HasBitmapAsync("c"));
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await scene.AssertRestoresAsync("full");

        scene.GoBackTo(stops.File("placed"));
        Assert.False(await scene.HasBitmapAsync("c"));
        await scene.AssertRestoresAsync("full");
        await Assert.ThrowsAsync<BitmapStateException>(() => scene.TakeAsync("next", new BackupOptions { Since = "c" }));
        // A bitmap of that name that somebody makes later records since then, and not since the backup.
        await scene.WriteAsync("write -P 7 1M 64k");
        await Qemu.ImgOkAsync("bitmap", "--add", scene.Disk, "c");
        BackupException refused = await Assert.ThrowsAsync<BackupException>(
            () => scene.TakeAsync("next", new BackupOptions { Since = "c" }));
        Assert.Contains("verify", refused.Message, StringComparison.Ordinal);
        refused = await Assert.ThrowsAsync<BackupException>(
            () => DiskBackup.TakeAsync(
                [new BackupDisk(scene.Disk, scene.Backup("next"), scene.Backup("full"))], new BackupOptions { Since = "c" },
                cancellationToken: BackupScene.Token));
        Assert.Contains("verify", refused.Message, StringComparison.Ordinal);
        BackupCheck differs = await scene.VerifyAsync("full", "c");
        Assert.Equal(1L << 20, differs.FirstDifferenceOffsetBytes);
        Assert.False(differs.IsConfirmed);

        // The checkpoint records, and the manifest does not know: the disk tells.
        scene.GoBackTo(stops.File("anchored"));
        await scene.WriteAsync("write -P 7 1M 64k");
        refused = await Assert.ThrowsAsync<BackupException>(() => scene.TakeAsync("next", new BackupOptions { Since = "c" }));
        Assert.Contains("verify", refused.Message, StringComparison.Ordinal);
        Assert.True((await scene.VerifyAsync("full", "c")).IsConfirmed);
        await scene.TakeAsync("next", new BackupOptions { Since = "c" });
        await scene.AssertRestoresAsync("next");
    }

    [Fact]
    public async Task AStopAroundTheClearingOfABitmapLosesNoChange()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await scene.WriteAsync("write -P 2 1M 256k");
        using var stops = TempFolder.InMemory();
        await scene.TakeAsync("one", new BackupOptions { Since = "c" }, atStep: step => scene.CopyTo(stops.File(step)));
        Assert.Equal(0, await scene.DirtyBytesAsync("c"));

        scene.GoBackTo(stops.File("copied"));
        Assert.Equal(256 << 10, await scene.DirtyBytesAsync("c"));
        await scene.TakeAsync("one", new BackupOptions { Since = "c" });
        await scene.AssertRestoresAsync("one");
        foreach (string step in new[] { "placed", "anchored" })
        {
            scene.GoBackTo(stops.File(step));
            Assert.Equal(string.Equals(step, "placed", StringComparison.Ordinal) ? 256 << 10 : 0, await scene.DirtyBytesAsync("c"));
            await scene.WriteAsync("write -P 3 2M 64k");
            BackupException refused = await Assert.ThrowsAsync<BackupException>(
                () => DiskBackup.TakeAsync(
                    [new BackupDisk(scene.Disk, scene.Backup("two"), scene.Backup("full"))], new BackupOptions { Since = "c" },
                    cancellationToken: BackupScene.Token));
            Assert.Contains("taken later", refused.Message, StringComparison.Ordinal);
            Assert.True((await scene.VerifyAsync("one", "c")).IsConfirmed);
            await scene.TakeAsync("two", new BackupOptions { Since = "c" });
            await scene.AssertRestoresAsync("two");
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ABackupThatFailsLeavesNothing(bool isCancelled)
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await scene.WriteAsync("write -P 2 0 5M");
        string[] before = scene.Names();
        using var cancellation = new CancellationTokenSource();
        var fuse = new CopyFuse(2 << 20, isCancelled ? cancellation : null);
        await Assert.ThrowsAnyAsync<Exception>(() => DiskBackup.TakeAsync(
            [new BackupDisk(scene.Disk, scene.Backup("one"))], new BackupOptions { Since = "c", Checkpoint = "d", Workers = 2 }, fuse,
            cancellation.Token));
        Assert.True(fuse.HasBlown);
        Assert.Equal(before, scene.Names());
        Assert.Equal(5 << 20, await scene.DirtyBytesAsync("c"));
        Assert.False(await scene.HasBitmapAsync("d"));
        await scene.TakeAsync("one", new BackupOptions { Since = "c", Checkpoint = "d" });
        await scene.AssertRestoresAsync("one");
    }

    [Fact]
    public async Task WhatCannotBeRemovedHidesNoErrorAndKeepsNoOther()
    {
        using var folder = TempFolder.InMemory();
        BackupScene[] scenes = await Task.WhenAll(
            Enumerable.Range(1, 3).Select(number => BackupScene.CreateAsync(folder, "8M", $"{number}")));
        var fuse = new CopyFuse((16 << 20) + 1, null);
        using var refused = new RefusingTrace(path => fuse.HasBlown && path.EndsWith("/b1.partial", StringComparison.Ordinal));
        IOException failed = await Assert.ThrowsAsync<IOException>(() => BackupTaking.RunAsync(
            [.. scenes.Select(static scene => new BackupDisk(scene.Disk, scene.Backup("b")))], new BackupOptions { Workers = 1 },
            fuse, null, BackupScene.Token));
        Assert.Contains("fuse", failed.Message, StringComparison.Ordinal);
        Assert.Equal(["b1.partial", "disk1.qcow2", "disk2.qcow2", "disk3.qcow2"], scenes[0].Names());
    }

    [Fact]
    public async Task ModeAlwaysKeepsWhatWasCopiedAndGoesOnWithIt()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await scene.WriteAsync("write -P 2 0 5M", "write -z 4M 512k");
        var always = new BackupOptions { Since = "c", Mode = BitmapSyncMode.Always };
        await Assert.ThrowsAsync<IOException>(() => scene.TakeAsync("one", always, new CopyFuse(2 << 20, null)));
        long left = await scene.DirtyBytesAsync("c");
        Assert.InRange(left, 1, 4 << 20);
        Assert.Equal(["disk.qcow2", "full", "full.backup.json", "one.backup.json.partial", "one.partial"], scene.Names());

        // What is in it is marked nowhere any more: nothing else may be built on the backup below, nor the unfinished one be lost.
        await Assert.ThrowsAsync<BackupException>(() =>
            DiskBackup.RestoreAsync(
                scene.Backup("one.backup.json.partial"), scene.Backup("r"), isRaw: false, cancellationToken: BackupScene.Token));
        Assert.Contains(
            "unfinished", (await Assert.ThrowsAsync<BackupException>(() => scene.TakeAsync("two", always))).Message,
            StringComparison.Ordinal);
        Assert.Contains(
            "always", (await Assert.ThrowsAsync<BackupException>(() => scene.TakeAsync("one", new BackupOptions { Since = "c" }))).Message,
            StringComparison.Ordinal);

        // A restore makes a file of that name, too.
        await Assert.ThrowsAsync<IOException>(
            () => DiskBackup.RestoreAsync(scene.Backup("full"), scene.Backup("one"), isRaw: false, cancellationToken: BackupScene.Token));

        await scene.WriteAsync("write -P 9 128k 64k", "write -P 9 7M 64k");
        await Assert.ThrowsAsync<IOException>(() => scene.TakeAsync("one", always, new CopyFuse(3 << 20, null)));
        await scene.WriteAsync("write -P 8 256k 64k");
        BackupManifest whole = await scene.TakeAsync("one", always);
        Assert.Equal(BackupState.Complete, whole.State);
        Assert.Equal(0, await scene.DirtyBytesAsync("c"));
        await scene.AssertRestoresAsync("one");
        Assert.True((await scene.VerifyAsync("one", "c")).IsGood);
        await scene.WriteAsync("write -P 3 3M 64k");
        await scene.TakeAsync("two", new BackupOptions { Since = "c" });
        await scene.AssertRestoresAsync("two");
    }

    [Fact]
    public async Task WhatAnEarlierTryCopiedAndIsDirtyAgainStaysSoUntilItIsCopiedAgain()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await scene.WriteAsync("write -P 2 0 5M");
        var always = new BackupOptions { Since = "c", Mode = BitmapSyncMode.Always };
        await Assert.ThrowsAsync<IOException>(() => scene.TakeAsync("one", always, new CopyFuse(4 << 20, null)));
        await scene.WriteAsync("write -P 9 1M 64k", "write -P 9 3M 64k");
        await Assert.ThrowsAsync<IOException>(() => scene.TakeAsync("one", always, new CopyFuse(1, null)));
        await scene.TakeAsync("one", always);
        await scene.AssertRestoresAsync("one");
    }

    [Fact]
    public async Task ARestoreThatFailsLeavesNoDisk()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions());
        string[] before = scene.Names();
        await Assert.ThrowsAsync<IOException>(() =>
            DiskBackup.RestoreAsync(
                scene.Backup("full"), scene.Backup("r"), isRaw: false, progress: new CopyFuse(1 << 20, null),
                cancellationToken: BackupScene.Token));
        Assert.Equal(before, scene.Names());
        // One that a stop left is written anew.
        await File.WriteAllTextAsync(scene.Backup("restored.partial"), "not a disk", BackupScene.Token);
        await scene.AssertRestoresAsync("full");
    }
}
