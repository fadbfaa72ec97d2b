using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups;

/// <summary>
/// Backups of disks of which a file was not copied whole: refused, or accepted, and then nobody is told that all is in order.
/// </summary>
public sealed class MissingDataTests : IDisposable
{
    private const string Missing = "before clusters that it names";

    private readonly TempFolder _folder = TempFolder.InMemory();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task AnAcceptedBackupSaysWhatIsMissing(bool isCompressed)
    {
        BackupScene scene = await BackupScene.CreateAsync(_folder);
        if (isCompressed)
        {
            await MakeCompressedAsync(scene.Disk);
        }

        Cut(scene.Disk);
        FolderContent before = FolderContent.Of(_folder.Path);
        ProcessResult refused = await Support.Cli.RunAsync("backup", "full", scene.Disk, scene.Backup("full"));
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("--accept-missing", refused.Error, StringComparison.Ordinal);
        Assert.Contains("probably not copied whole", refused.Error, StringComparison.Ordinal);
        before.AssertSame();

        ProcessResult taken = await Support.Cli.RunAsync("backup", "full", "--accept-missing", scene.Disk, scene.Backup("full"));
        ProcessResult verified = await Support.Cli.RunAsync("backup", "verify", scene.Backup("full"));
        ProcessResult listed = await Support.Cli.RunAsync("backup", "list", _folder.Path);
        ProcessResult restored = await Support.Cli.RunAsync("backup", "restore", scene.Backup("full"), scene.Backup("restored"));
        foreach (ProcessResult result in new[] { taken, verified, listed, restored })
        {
            Assert.Equal(0, result.ExitCode);
            Assert.Contains(Missing, result.Error, StringComparison.Ordinal);
            Assert.DoesNotContain("verified", result.Output, StringComparison.Ordinal);
            Assert.DoesNotContain("in order", result.Output, StringComparison.Ordinal);
        }

        File.Delete(scene.Backup("restored"));
        foreach (string[] command
            in new string[][]
            {
                ["verify", scene.Backup("full")],
                ["list", _folder.Path],
                ["restore", scene.Backup("full"), scene.Backup("again")],
            })
        {
            string output = await Support.Cli.OkAsync(["backup", .. command, "--output", "json"]);
            Assert.Contains("\"missing\": \"image 0", output, StringComparison.Ordinal);
        }

        // What is there was backed up as it is.
        if (!isCompressed)
        {
            await BackupScene.AssertSameAsync(scene.Backup("again"), scene.Disk);
        }
    }

    /// <summary>What was missing in the backup below is missing in what stands on it, whether or not the disk is whole again.</summary>
    [Fact]
    public async Task WhatStandsOnItMissesTheSame()
    {
        BackupScene scene = await BackupScene.CreateAsync(_folder);
        string overlay = _folder.File("overlay.qcow2");
        await Support.Cli.OkAsync("chain", "snapshot", scene.Disk, overlay);
        File.Copy(scene.Disk, _folder.File("whole"));
        Cut(scene.Disk);
        await Support.Cli.OkAsync("backup", "full", "--accept-missing", "--checkpoint", "day", overlay, scene.Backup("full"));
        File.Move(_folder.File("whole"), scene.Disk, overwrite: true);
        await Qemu.IoOkAsync(overlay, "write -P 9 0 64k");

        ProcessResult refused = await Support.Cli.RunAsync("backup", "incremental", "--since", "day", overlay, scene.Backup("inc"));
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("of which something was missing", refused.Error, StringComparison.Ordinal);
        await Support.Cli.OkAsync("backup", "incremental", "--accept-missing", "--since", "day", overlay, scene.Backup("inc"));
        ProcessResult restored = await Support.Cli.RunAsync("backup", "restore", scene.Backup("inc"), scene.Backup("restored"));

        Assert.Equal(0, restored.ExitCode);
        Assert.Contains(Missing, restored.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("verified", restored.Output, StringComparison.Ordinal);
    }

    /// <summary>What an unfinished backup copied for what was missing it keeps, also when the disk is whole again.</summary>
    [Fact]
    public async Task AnUnfinishedBackupMissesTheSameWhenItIsGoneOnWith()
    {
        BackupScene scene = await BackupScene.CreateAsync(_folder);
        // Granules larger than clusters: what is dirty reaches below the overlay.
        string overlay = _folder.File("overlay.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "-b", scene.Disk, "-F", "qcow2", overlay);
        await Support.Cli.OkAsync("backup", "full", "--checkpoint", "day", overlay, scene.Backup("full"));
        await Support.Cli.OkAsync("bitmap", "--remove", "--add", "-g", "1M", overlay, "day");
        await Qemu.IoOkAsync(overlay, "write -P 9 4M 4k", "write -P 9 5M 4k", "write -P 9 7M 4k");
        File.Copy(scene.Disk, _folder.File("whole"));
        Cut(scene.Disk);
        var options = new BackupOptions { Since = "day", Mode = BitmapSyncMode.Always, AcceptsMissing = true, Workers = 1 };
        await Assert.ThrowsAsync<IOException>(() => TakeAsync(options, new CopyFuse(6 << 20, null)));
        File.Move(_folder.File("whole"), scene.Disk, overwrite: true);

        BackupException refused = await Assert.ThrowsAsync<BackupException>(() => TakeAsync(options with { AcceptsMissing = false }));
        Assert.Contains("was taken of a disk of which something was missing", refused.Message, StringComparison.Ordinal);
        Assert.Contains(Missing, (await TakeAsync(options))[0].Manifest.Missing!, StringComparison.Ordinal);

        Task<IReadOnlyList<StoredBackup>> TakeAsync(BackupOptions how, IProgress<OperationProgress>? progress = null) =>
            DiskBackup.TakeAsync([new BackupDisk(overlay, scene.Backup("inc"))], how, progress, BackupScene.Token);
    }

    /// <summary>
    /// An edit makes the file longer, and then nothing shows any more what was missing: images that are not whole are not written.
    /// </summary>
    [Theory]
    [InlineData("full", "--checkpoint", "day")]
    [InlineData("incremental", "--since", "chk")]
    public async Task ACutImageIsNotWritten(string verb, string option, string name)
    {
        BackupScene scene = await BackupScene.CreateAsync(_folder);
        // The bitmap comes to lie before the data.
        await scene.WriteAsync("discard 0 1M");
        await Support.Cli.OkAsync("backup", "full", "--checkpoint", "chk", scene.Disk, scene.Backup("first"));
        Cut(scene.Disk);
        FolderContent before = FolderContent.Of(_folder.Path);

        ProcessResult result = await Support.Cli.RunAsync(
            "backup", verb, "--accept-missing", option, name, scene.Disk, scene.Backup("second"));

        Assert.Equal(1, result.ExitCode);
        Assert.Contains("would be written", result.Error, StringComparison.Ordinal);
        before.AssertSame();
    }

    /// <summary>What is taken on trust, or is dirty by now, nobody compares.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task NothingCutIsAdopted(bool isDisk)
    {
        BackupScene scene = await BackupScene.CreateAsync(_folder);
        await Qemu.ImgOkAsync("convert", "-O", "qcow2", scene.Disk, scene.Backup("theirs"));
        string overlay = _folder.File("overlay.qcow2");
        await Support.Cli.OkAsync("chain", "snapshot", scene.Disk, overlay);
        await Support.Cli.OkAsync("bitmap", "--add", overlay, "chk");
        Cut(isDisk ? scene.Disk : scene.Backup("theirs"));
        FolderContent before = FolderContent.Of(_folder.Path);

        ProcessResult result = await Support.Cli.RunAsync(
            "backup", "adopt", "--trust", "--disk", overlay, "--checkpoint", "chk", scene.Backup("theirs"));

        Assert.Equal(1, result.ExitCode);
        Assert.Contains(Missing, result.Error, StringComparison.Ordinal);
        before.AssertSame();
    }

    [Fact]
    public void AManifestKeepsIt()
    {
        var manifest = new BackupManifest
        {
            Id = new string('a', 32),
            Series = new string('a', 32),
            Created = new DateTimeOffset(2026, 11, 1, 0, 0, 0, TimeSpan.Zero),
            ImageFile = "x",
            ImageFormat = "qcow2",
            SizeBytes = 512,
            GroupBytes = 1 << 20,
            Missing = "image 0: half",
        };

        Assert.Equal("image 0: half", ManifestJson.Read("m", ManifestJson.Write(manifest), withGroups: true).Missing);
        Assert.Null(ManifestJson.Read("m", ManifestJson.Write(manifest with { Missing = null }), withGroups: true).Missing);
    }

    private async Task MakeCompressedAsync(string disk)
    {
        byte[] bytes = new byte[8 << 20];
        new SplitMix(1).Fill(bytes);
        string raw = _folder.Write("disk.raw", [.. bytes.Select(static b => (byte)(b & 15))]);
        await Qemu.ImgOkAsync("convert", "-c", "-f", "raw", "-O", "qcow2", raw, disk);
        File.Delete(raw);
    }

    /// <summary>Keeps the tables, loses data.</summary>
    private static void Cut(string path)
    {
        using FileStream file = File.OpenWrite(path);
        file.SetLength(file.Length * 2 / 3 / 65536 * 65536);
    }
}
