using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

public sealed class BackupTests
{
    [Fact]
    public async Task DirtyZerosHideWhatTheBackupBelowHas()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await scene.WriteAsync("write -P 0 1M 128k", "write -z -u 2M 128k", "discard 3M 128k", "write -P 2 4M 64k");
        ProcessResult result = await Support.Cli.RunAsync(
            "backup", "incremental", scene.Disk, scene.Backup("one"), "--since", "c", "--output", "json", "--extents");
        Assert.True(result.ExitCode == 0, result.Error);
        string text = result.Output.Replace("\n", "", StringComparison.Ordinal).Replace(" ", "", StringComparison.Ordinal);
        Assert.Contains("\"dirty\":458752,\"data\":65536,\"zero\":393216", text, StringComparison.Ordinal);
        Assert.Contains(
            """
            "extents":[{"start":1048576,"length":131072,"kind":"dirty-zero"},
            {"start":2097152,"length":131072,"kind":"dirty-zero"},
            {"start":3145728,"length":131072,"kind":"dirty-zero"},
            {"start":4194304,"length":65536,"kind":"dirty-data"}]
            """.Replace("\n", "", StringComparison.Ordinal),
            text,
            StringComparison.Ordinal);
        await scene.AssertRestoresAsync("one");
        await Qemu.ImgOkAsync("check", scene.Backup("one"));
    }

    [Fact]
    public async Task ManyGroupsAreSummedOnceEach()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder, "300M");
        await scene.WriteAsync("write -P 3 127M 2M", "write -P 4 299M 1M");
        BackupManifest full = await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c", Compress = true });
        Assert.Equal([0, 64L << 20, 128L << 20, 256L << 20], full.Groups.Select(static group => group.OffsetBytes));
        Assert.Equal(9 << 20, full.DataBytes);
        await scene.WriteAsync("write -z 0 300M");
        BackupManifest one = await scene.TakeAsync("one", new BackupOptions { Since = "c", Checkpoint = "d" });
        Assert.Equal((0, 300L << 20), (one.DataBytes, one.ZeroBytes));
        Assert.Equal(5, one.Groups.Count);
        await scene.AssertRestoresAsync("one");
        Assert.True((await scene.VerifyAsync("one", "d")).IsGood);
    }

    [Fact]
    public async Task ABitmapThatRecordsSinceALaterBackupBuildsOnThatOneOnly()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await scene.WriteAsync("write -P 2 1M 64k");
        await scene.TakeAsync("one", new BackupOptions { Since = "c" });
        await scene.WriteAsync("write -P 3 2M 64k");
        BackupException refused = await Assert.ThrowsAsync<BackupException>(() => DiskBackup.TakeAsync(
            [new BackupDisk(scene.Disk, scene.Backup("two"), scene.Backup("full"))], new BackupOptions { Since = "c" },
            cancellationToken: BackupScene.Token));
        Assert.Contains("records since then", refused.Message, StringComparison.Ordinal);
        BackupManifest two = await scene.TakeAsync("two", new BackupOptions { Since = "c", Mode = BitmapSyncMode.Never });
        Assert.Equal("one.backup.json", two.Parents[0].Manifest);
        Assert.Equal(64 << 10, await scene.DirtyBytesAsync("c"));
        await scene.AssertRestoresAsync("two");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task WhereTheBackupIsGoneForWhichABitmapWasClearedNoneIsBuiltOnTheOneBefore(bool isUnfinished)
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await scene.WriteAsync("write -P 2 0 5M");
        if (isUnfinished)
        {
            await Assert.ThrowsAsync<IOException>(
                () => scene.TakeAsync("one", new BackupOptions { Since = "c", Mode = BitmapSyncMode.Always }, new CopyFuse(2 << 20, null)));
        }
        else
        {
            await scene.TakeAsync("one", new BackupOptions { Since = "c" });
        }

        foreach (string name in scene.Names().Where(static name => name.StartsWith("one", StringComparison.Ordinal)))
        {
            File.Delete(Path.Combine(folder.Path, name));
        }

        // What was marked until then is nowhere any more.
        await scene.WriteAsync("write -P 3 2M 64k");
        foreach (string? previous in new[] { null, scene.Backup("full") })
        {
            BackupException refused = await Assert.ThrowsAsync<BackupException>(() => DiskBackup.TakeAsync(
                [new BackupDisk(scene.Disk, scene.Backup("two"), previous)], new BackupOptions { Since = "c" },
                cancellationToken: BackupScene.Token));
            Assert.Contains("take a full backup", refused.Message, StringComparison.Ordinal);
        }

        await scene.AssertRestoresAsync("full", isAsNow: false);
        await scene.TakeAsync("new", new BackupOptions { Checkpoint = "d" });
        await scene.WriteAsync("write -P 4 3M 64k");
        await scene.TakeAsync("next", new BackupOptions { Since = "d" });
        await scene.AssertRestoresAsync("next");
    }

    [Fact]
    public async Task AClockThatWasSetBackDoesNotTurnTheOrderRound()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        BackupManifest full = await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        string path = scene.Backup("full.backup.json");
        string text = await File.ReadAllTextAsync(path, BackupScene.Token);
        string taken = full.Created.UtcDateTime.ToString("O", System.Globalization.CultureInfo.InvariantCulture);
        await File.WriteAllTextAsync(path, text.Replace(taken, "2199" + taken[4..], StringComparison.Ordinal), BackupScene.Token);
        // What a shorter disk cut off is known by the backup that was taken of it.
        await Qemu.ImgOkAsync("resize", "-q", "--shrink", scene.Disk, "3M");
        BackupManifest shorter = await scene.TakeAsync("shorter", new BackupOptions());
        Assert.Equal(2199, shorter.Created.Year);
        await Qemu.ImgOkAsync("resize", "-q", scene.Disk, "8M");
        await scene.TakeAsync("one", new BackupOptions { Since = "c" });
        await scene.AssertRestoresAsync("one");

        await File.WriteAllTextAsync(
            path, text.Replace(taken, "9999-12-31T23:59:59.9999999Z", StringComparison.Ordinal), BackupScene.Token);
        Assert.Contains(
            "end of time", (await Assert.ThrowsAsync<BackupException>(() => scene.TakeAsync("two", new BackupOptions()))).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task ABackupOfAnOverlayThatWasCommittedIsOfTheDisk()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        string overlay = folder.File("overlay.qcow2");
        Assert.Equal(0, (await Support.Cli.RunAsync("chain", "snapshot", scene.Disk, overlay)).ExitCode);
        await Qemu.ImgOkAsync("resize", "-q", "--shrink", overlay, "3M");
        Assert.Equal(0, (await Support.Cli.RunAsync("backup", "full", overlay, scene.Backup("shorter"))).ExitCode);
        await Qemu.ImgOkAsync("resize", "-q", overlay, "8M");
        ProcessResult committed = await Support.Cli.RunAsync("chain", "commit", overlay, scene.Disk);
        Assert.True(committed.ExitCode == 0, committed.Error);
        await scene.TakeAsync("one", new BackupOptions { Since = "c" });
        await scene.AssertRestoresAsync("one");
    }

    [Fact]
    public async Task ADiskThatGotAnotherNameIsTheSame()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await scene.WriteAsync("write -P 2 1M 64k");
        string renamed = folder.File("renamed.qcow2");
        File.Move(scene.Disk, renamed);
        ProcessResult taken = await Support.Cli.RunAsync("backup", "incremental", renamed, scene.Backup("one"), "--since", "c");
        Assert.True(taken.ExitCode == 0, taken.Error);
        File.Move(renamed, scene.Disk);
        await scene.AssertRestoresAsync("one");
    }

    [Fact]
    public async Task AnInvalidBitmapIsRefusedOrReplacedAsWasAsked()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await Qemu.ImgOkAsync("bitmap", "--disable", scene.Disk, "c");
        await scene.WriteAsync("write -P 2 1M 64k");
        string[] before = scene.Names();
        ProcessResult refused = await Support.Cli.RunAsync("backup", "incremental", scene.Disk, scene.Backup("one"), "--since", "c");
        Assert.Equal(2, refused.ExitCode);
        Assert.Contains("not-recording", refused.Error, StringComparison.Ordinal);
        // What this image has tells nothing of discards.
        ProcessResult populated = await Support.Cli.RunAsync(
            "backup", "incremental", scene.Disk, scene.Backup("one"), "--since", "c", "--fallback", "populate");
        Assert.Equal(2, populated.ExitCode);
        Assert.Equal(before, scene.Names());

        ProcessResult taken = await Support.Cli.RunAsync(
            "backup", "incremental", scene.Disk, scene.Backup("one"), "--since", "c", "--fallback", "full", "--checkpoint", "d", "--output",
            "json");
        Assert.True(taken.ExitCode == 0, taken.Error);
        Assert.Contains("\"kind\": \"full\"", taken.Output, StringComparison.Ordinal);
        Assert.Contains("\"fallback\": \"full\"", taken.Output, StringComparison.Ordinal);
        Assert.Contains(
            "not-recording", await File.ReadAllTextAsync(scene.Backup("one.backup.json"), BackupScene.Token), StringComparison.Ordinal);
        await scene.AssertRestoresAsync("one");
    }

    [Fact]
    public async Task DisksOfOnePointStartTheirCheckpointsTogetherOrNotAtAll()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        string other = folder.File("other.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", other, "3M");
        await scene.TakeAsync("a0", new BackupOptions { Checkpoint = "c" });
        string[] before = scene.Names();
        // The second disk was added later: it has no bitmap.
        ProcessResult refused = await Support.Cli.RunAsync(
            "backup", "incremental", scene.Disk, scene.Backup("a1"), "--disk", $"{other}={scene.Backup("b1")}", "--since", "c",
            "--checkpoint", "d");
        Assert.Equal(2, refused.ExitCode);
        Assert.Equal(before, scene.Names());
        Assert.False(await scene.HasBitmapAsync("d"));

        string[] set = ["--disk", $"{scene.Disk}={scene.Backup("a1")}", "--disk", $"{other}={scene.Backup("b1")}"];
        ProcessResult taken = await Support.Cli.RunAsync(
            ["backup", "incremental", .. set, "--since", "c", "--checkpoint", "d", "--fallback", "full"]);
        Assert.True(taken.ExitCode == 0, taken.Error);
        await Qemu.IoOkAsync(other, "write -P 5 1M 64k");
        await scene.WriteAsync("write -P 6 1M 64k");
        set = ["--disk", $"{scene.Disk}={scene.Backup("a2")}", "--disk", $"{other}={scene.Backup("b2")}"];
        taken = await Support.Cli.RunAsync(["backup", "incremental", .. set, "--since", "d", "--checkpoint", "e"]);
        Assert.True(taken.ExitCode == 0, taken.Error);
        await scene.AssertRestoresAsync("a2");
        await DiskBackup.RestoreAsync(scene.Backup("b2"), folder.File("r"), isRaw: true, cancellationToken: BackupScene.Token);
        await BackupScene.AssertSameAsync(folder.File("r"), other);
        BackupManifest a = (await DiskBackup.ListAsync(folder.Path, BackupScene.Token)).Single(
            backup => backup.ManifestPath.EndsWith("/a2.backup.json", StringComparison.Ordinal)).Manifest!;
        Assert.NotNull(a.Set);
        Assert.Equal("a1.backup.json", a.Parents[0].Manifest);
    }

    [Fact]
    public async Task ABitmapInASharedImageIsNotClearedForOneDiskAlone()
    {
        using var folder = TempFolder.InMemory();
        using var backups = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await Qemu.ImgOkAsync("bitmap", "--add", scene.Disk, "c");
        await scene.WriteAsync("write -P 2 1M 64k");
        string[] disks = [folder.File("one.qcow2"), folder.File("two.qcow2")];
        foreach (string disk in disks)
        {
            Assert.Equal(0, (await Support.Cli.RunAsync("chain", "snapshot", scene.Disk, disk)).ExitCode);
            string name = Path.GetFileNameWithoutExtension(disk);
            Assert.Equal(0, (await Support.Cli.RunAsync("backup", "full", disk, backups.File(name), "--checkpoint", "c-" + name)).ExitCode);
            await Qemu.IoOkAsync(disk, "write -P 3 2M 64k");
        }

        string[] names = Names();
        string[] clearing = ["backup", "incremental", disks[0], backups.File("next"), "--since", "c", "--backing", backups.File("one")];
        ProcessResult refused = await Support.Cli.RunAsync(clearing);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("two.qcow2' has", refused.Error, StringComparison.Ordinal);
        Assert.Contains("--ignore-overlays", refused.Error, StringComparison.Ordinal);
        Assert.Equal(names, Names());
        Assert.Equal(64 << 10, await scene.DirtyBytesAsync("c"));

        // A bitmap of the top image alone, a checkpoint, and a bitmap that stays as it is, concern nobody else.
        foreach (string[] more
            in new string[][] { ["--since", "c-one", "--checkpoint", "d"], ["--since", "c-one", "--mode", "never"], ["--since", "c-one"] })
        {
            ProcessResult taken = await Support.Cli.RunAsync(
                ["backup", "incremental", disks[0], backups.File("a" + string.Concat(more)), .. more]);
            Assert.True(taken.ExitCode == 0, taken.Error);
        }

        Assert.Equal(64 << 10, await scene.DirtyBytesAsync("c"));
        // Who says so is let; whether there is a backup to build on is another matter.
        refused = await Support.Cli.RunAsync([.. clearing, "--ignore-overlays"]);
        Assert.Contains("cannot be built on", refused.Error, StringComparison.Ordinal);

        string[] Names() => [.. Directory.EnumerateFiles(backups.Path).Order(StringComparer.Ordinal)];
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ASnapshotThatWasDiscardedAfterABackupIsNoticed(bool isMadeAnew)
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        string overlay = folder.File("overlay.qcow2");
        Assert.Equal(0, (await Support.Cli.RunAsync("chain", "snapshot", scene.Disk, overlay)).ExitCode);
        await Qemu.IoOkAsync(overlay, "write -P 4 1M 64k");
        // The bitmaps of both images are cleared, and what the overlay had is told by none.
        ProcessResult taken = await Support.Cli.RunAsync("backup", "incremental", overlay, scene.Backup("one"), "--since", "c");
        Assert.True(taken.ExitCode == 0, taken.Error);
        File.Delete(overlay);
        if (isMadeAnew)
        {
            Assert.Equal(0, (await Support.Cli.RunAsync("chain", "snapshot", scene.Disk, overlay)).ExitCode);
        }

        string[] before = scene.Names();
        ProcessResult refused = await Support.Cli.RunAsync(
            "backup", "incremental", isMadeAnew ? overlay : scene.Disk, scene.Backup("two"), "--since", "c");
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("differs from it at byte 1048576", refused.Error, StringComparison.Ordinal);
        Assert.Equal(before, scene.Names());
    }

    [Fact]
    public async Task ADiskThatShrankAndGrewBetweenBackupsReadsZerosAgain()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await Qemu.ImgOkAsync("resize", "-q", "--shrink", scene.Disk, "3000k");
        await scene.TakeAsync("one", new BackupOptions { Since = "c", Checkpoint = "d" });
        await scene.AssertRestoresAsync("one");
        await Qemu.ImgOkAsync("resize", "-q", scene.Disk, "9M");
        await scene.TakeAsync("two", new BackupOptions { Since = "d", Checkpoint = "e" });
        await scene.AssertRestoresAsync("two");
        // The older bitmap calls what was cut off clean: that the backup between was shorter tells.
        await scene.TakeAsync("three", new BackupOptions { Since = "c", Mode = BitmapSyncMode.Never });
        await scene.AssertRestoresAsync("three");
    }

    [Theory]
    [InlineData("backup", "incremental", "d", "t")]
    [InlineData("backup", "incremental", "d", "t", "--since", "c", "--mode", "always", "--checkpoint", "e")]
    [InlineData("backup", "incremental", "d", "t", "--since", "c", "--checkpoint", "c")]
    [InlineData("backup", "incremental", "d", "t", "--since", "c", "--disk", "a=b=c")]
    [InlineData("backup", "incremental", "d", "t", "--since", "c", "--mode", "sometimes")]
    [InlineData("backup", "full", "d")]
    [InlineData("backup", "full", "d", "t", "-O", "raw", "-c")]
    [InlineData("backup", "full", "d", "t", "--checkpoint", "")]
    [InlineData("backup", "verify", "m", "--since", "c")]
    public async Task WrongCallsAreRefused(params string[] arguments)
    {
        ProcessResult result = await Support.Cli.RunAsync(arguments);
        Assert.Equal(1, result.ExitCode);
        Assert.NotEmpty(result.Error);
        Assert.DoesNotContain("   at ", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnImageThatSomebodyWritesIsNotBackedUp()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await using (await QemuIoHolder.StartAsync(scene.Disk))
        {
            await Assert.ThrowsAsync<ImageLockedException>(() => scene.TakeAsync("full", new BackupOptions()));
        }

        Assert.Equal(["disk.qcow2"], scene.Names());
    }
}
