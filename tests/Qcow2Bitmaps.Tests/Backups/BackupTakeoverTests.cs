using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>A bitmap is that of one backup only, whatever lies in the folder, or happens to it meanwhile.</summary>
public sealed class BackupTakeoverTests
{
    private const string Full = "full.backup.json";

    [Fact]
    public async Task AnUnfinishedBackupIsNotGoneOnWithWhereItsBitmapWasMadeAnew()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await scene.WriteAsync("write -P 2 0 5M");
        var always = new BackupOptions { Since = "c", Mode = BitmapSyncMode.Always };
        await Assert.ThrowsAsync<IOException>(() => scene.TakeAsync("one", always, new CopyFuse(2 << 20, null)));
        await scene.WriteAsync("write -P 3 2M 64k");
        await DeleteAsync(scene, "c");
        await scene.TakeAsync("two", new BackupOptions { Checkpoint = "c" });
        File.Delete(scene.Backup("two"));
        File.Delete(scene.Backup("two.backup.json"));
        await scene.WriteAsync("write -P 4 5M 64k");

        Assert.Contains(
            "take a full backup", (await Assert.ThrowsAsync<BackupException>(() => scene.TakeAsync("one", always))).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task AManifestThatCannotBeReadNowStillClaimsItsBitmapLater()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await scene.WriteAsync("write -P 2 0 5M");
        await DeleteAsync(scene, "c");
        File.Move(scene.Backup(Full), scene.Backup("away"));
        File.CreateSymbolicLink(scene.Backup(Full), scene.Backup(Full));
        await Assert.ThrowsAsync<IOException>(() => scene.TakeAsync("two", new BackupOptions { Checkpoint = "c" }));

        File.Move(scene.Backup("away"), scene.Backup(Full), overwrite: true);
        // What is no manifest at all does not stand in the way.
        await File.WriteAllTextAsync(scene.Backup("other.backup.json"), "{}", BackupScene.Token);
        await scene.TakeAsync("two", new BackupOptions { Checkpoint = "c" });
        File.Delete(scene.Backup("other.backup.json"));
        await Assert.ThrowsAsync<BackupException>(() => DiskBackup.TakeAsync(
            [new BackupDisk(scene.Disk, scene.Backup("three"), scene.Backup("full"))], new BackupOptions { Since = "c" },
            cancellationToken: BackupScene.Token));
    }

    [Fact]
    public async Task AFormerBackupMayBeDeletedWhileANewOneCopies()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        await DeleteAsync(scene, "c");
        await scene.TakeAsync("two", new BackupOptions { Checkpoint = "c" }, atStep: step =>
        {
            if (step == "copied")
            {
                File.Delete(scene.Backup(Full));
            }
        });
        await scene.WriteAsync("write -P 2 0 5M");
        await scene.TakeAsync("three", new BackupOptions { Since = "c" });
        await scene.AssertRestoresAsync("three");
    }

    [Fact]
    public async Task WhereFilesCannotBeToldApartACloneIsComparedThough()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder);
        string[] clones = [folder.File("a.qcow2"), folder.File("b.qcow2")];
        foreach (string path in clones)
        {
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", scene.Disk, "-F", "qcow2", path);
        }

        await Qemu.IoOkAsync(clones[0], "write -P 2 0 64k");
        IReadOnlyList<StoredBackup> taken = await DiskBackup.TakeAsync(
            [new BackupDisk(clones[0], scene.Backup("a"))], new BackupOptions { Checkpoint = "c" }, cancellationToken: BackupScene.Token);
        await Qemu.ImgOkAsync("bitmap", "--add", clones[1], "c");

        await using ImageChain other = await ImageChain.OpenAsync(clones[1], cancellationToken: BackupScene.Token);
        await using ImageChain own = await ImageChain.OpenAsync(clones[0], cancellationToken: BackupScene.Token);
        StoredBackup below = taken[0].With(taken[0].Manifest with { SourceFile = null });
        await RequireSameAsync(own);
        await Assert.ThrowsAsync<BackupException>(() => RequireSameAsync(other));

        Task RequireSameAsync(ImageChain chain) => new DiskCourse(chain, DiskIdentity.WithoutMarks(chain), "c")
            .RequireSameAsync([below], null, below.Manifest.SizeBytes, BackupScene.Token).AsTask();
    }

    /// <summary>
    /// Disks are backed up into one folder at the same time: each looks for its own backups while the others' get their names.
    /// </summary>
    [Fact]
    public async Task AManifestThatGetsItsNameMeanwhileIsFound()
    {
        using var folder = TempFolder.InMemory();
        BackupScene scene = await BackupScene.CreateAsync(folder, "1M");
        await scene.TakeAsync("full", new BackupOptions { Checkpoint = "c" });
        string whole = scene.Backup(Full);
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(BackupScene.Token);
        Task renaming = Task.Run(
            () =>
            {
                for (int i = 0; !ended.IsCancellationRequested; i++)
                {
                    string path = scene.Backup($"other{i % 8}.backup.json");
                    File.Copy(whole, BackupPaths.PartialOf(path));
                    File.Move(BackupPaths.PartialOf(path), path);
                    File.Delete(scene.Backup($"other{(i + 1) % 8}.backup.json"));
                }
            },
            BackupScene.Token);
        for (int i = 0; i < 500; i++)
        {
            IReadOnlyList<StoredBackup> found = await BackupStore.ScanAsync(folder.Path, static (path, fault) =>
            {
                // A copy is written in pieces, other than a manifest.
                if (fault is not BackupException)
                {
                    throw new InvalidOperationException(path, fault);
                }
            }, BackupScene.Token);
            Assert.Contains(found, backup => backup.ManifestPath == whole);
        }

        await ended.CancelAsync();
        await renaming;
    }

    private static async Task DeleteAsync(BackupScene scene, string bitmap)
    {
        ProcessResult result = await Support.Cli.RunAsync("chain", "delete", scene.Disk, bitmap);
        Assert.True(result.ExitCode == 0, result.Error);
    }
}
