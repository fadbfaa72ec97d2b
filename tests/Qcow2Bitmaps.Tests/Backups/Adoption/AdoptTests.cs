using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups.Adoption;

/// <summary>
/// Backups that QEMU pushed become ones that ours are built on; whatever is wrong with them is refused before anything is written.
/// </summary>
public sealed class AdoptTests
{
    [Theory]
    [InlineData("qcow2", "")]
    [InlineData("raw", "")]
    [InlineData("qcow2", "compressed")]
    [InlineData("qcow2", "cluster_size=4k")]
    [InlineData("qcow2", "cluster_size=512")]
    [InlineData("qcow2", "cluster_size=2M")]
    [InlineData("qcow2", "cluster_size=128k,extended_l2=on")]
    [InlineData("qcow2", "", true)]
    public async Task WhatQemuPushedIsAdoptedAndGoneOnWith(string format, string options, bool clears = false)
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder, format: format, options: options, clears: clears);
        string checkpoint = clears ? "c0" : "c2";
        string before = series.Names();
        await series.WriteAsync("write -P 6 2M 100k");
        string output = await series.AdoptAsync(checkpoint, format == "raw" ? ["-F", "raw"] : []);
        Assert.Contains("full: adopted as a full backup,", output, StringComparison.Ordinal);
        Assert.Contains("inc2: adopted as an incremental backup on inc1.backup.json,", output, StringComparison.Ordinal);
        Assert.Contains($"except where bitmap '{checkpoint}' is dirty: ", output, StringComparison.Ordinal);
        Assert.Equal(
            before,
            string.Join('\n', series.Names().Split('\n').Where(static name => !name.Contains(".backup.json", StringComparison.Ordinal))));

        Assert.Contains(
            "The disk equals the backup", await Support.Cli.OkAsync("backup", "verify", series.Images[2], "--disk", series.Disk),
            StringComparison.Ordinal);
        string list = await Support.Cli.OkAsync("backup", "list", series.Folder);
        Assert.Equal(3, list.Split("adopted-compared").Length - 1);
        Assert.Contains($"inc2.backup.json  on inc1.backup.json  checkpoint {checkpoint}", list, StringComparison.Ordinal);
        await series.GoOnAsync(checkpoint);
        for (int i = 0; i < 3; i++)
        {
            await series.AssertRestoresAsync(Path.GetFileName(series.Images[i]), series.Contents[i]);
        }

        await Support.Cli.OkAsync("backup", "restore", series.Image("ours2"), folder.File("then"), "--to", checkpoint);
        Assert.Equal(series.Contents[2], await series.ReadAsync(folder.File("then")));
    }

    /// <summary>The backups are of the disk, not of the image that was its top then.</summary>
    [Fact]
    public async Task ADiskThatHasGotAnOverlaySinceIsCompared()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder);
        string top = folder.File("top.qcow2");
        await Support.Cli.OkAsync("chain", "snapshot", series.Disk, top);
        await Qemu.IoOkAsync(top, "write -P 9 100k 400k", "write -z 1M 64k");
        await Support.Cli.OkAsync(["backup", "adopt", "--disk", top, "--checkpoint", "c2", .. series.Images]);
        await Qemu.IoOkAsync(top, "write -P 10 2M 64k");
        await Support.Cli.OkAsync("backup", "incremental", top, series.Image("ours"), "--since", "c2", "--checkpoint", "d");
        await series.AssertRestoresAsync("ours", await series.ReadAsync(top));
        await Support.Cli.OkAsync("chain", "commit", top, series.Disk);
        await series.GoOnAsync("d");
    }

    [Fact]
    public async Task WhoVouchesForTheSeriesIsBelievedAndTheManifestsSaySo()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder);
        // The comparison finds that one is missing.
        await series.RefusalAsync([series.Images[0], series.Images[2]], "c2", 1);
        ProcessResult trusted = await series.TryAdoptAsync([series.Images[0], series.Images[2]], "c2", "--trust");
        Assert.Contains("The disk was not compared", trusted.Output, StringComparison.Ordinal);
        Assert.Contains(
            "\"origin\": \"adopted-trusted\"", await File.ReadAllTextAsync(series.Image("inc2.backup.json"), PushedSeries.Token),
            StringComparison.Ordinal);
        Assert.Contains("adopted-trusted", await Support.Cli.OkAsync("backup", "list", series.Folder), StringComparison.Ordinal);
        ProcessResult verified = await Support.Cli.RunAsync("backup", "verify", series.Images[2], "--disk", series.Disk);
        Assert.Equal(1, verified.ExitCode);
        Assert.Contains("The disk differs", verified.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ASeriesGrowsAndTheSameCallAgainChangesNothing()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder);
        await series.AdoptAsync("c2");
        string before = series.Names();
        Assert.Contains("inc2: is already an incremental backup", await series.AdoptAsync("c2"), StringComparison.Ordinal);
        Assert.Equal(before, series.Names());
        Assert.Contains(
            "does not say that bitmap 'c1' records since its point", await series.RefusalAsync(series.Images, "c1", 1),
            StringComparison.Ordinal);
        Assert.Contains(
            "which says that it is based on 'full.backup.json', 'inc1.backup.json'. Expected before it",
            await series.RefusalAsync(series.Images.Skip(2), "c2", 1), StringComparison.Ordinal);

        await series.WriteAsync("write -P 9 0 64k");
        await series.PushAsync("inc3", "c2", null, clears: true);
        string output = await series.AdoptAsync("c2");
        Assert.Contains("full: is already a full backup", output, StringComparison.Ordinal);
        Assert.Contains("inc3: adopted as an incremental backup on inc2.backup.json", output, StringComparison.Ordinal);
        IReadOnlyList<StoredBackup> listed = await DiskBackup.ListAsync(series.Folder, PushedSeries.Token);
        Assert.Equal(
            ["inc3"], listed.Where(static one => one.Manifest!.Anchors.Contains("c2")).Select(static one => one.Manifest!.ImageFile));
        await series.GoOnAsync("c2");
        for (int i = 0; i < 4; i++)
        {
            await series.AssertRestoresAsync(Path.GetFileName(series.Images[i]), series.Contents[i]);
        }
    }

    [Fact]
    public async Task ABitmapThatABackupOfOursHasIsNotTakenFromIt()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder);
        await series.AdoptAsync("c2");
        await series.WriteAsync("write -P 9 0 64k");
        await Support.Cli.OkAsync("backup", "incremental", series.Disk, series.Image("ours"), "--since", "c2");
        File.Delete(series.Image("inc2.backup.json"));
        // It was cleared since; what it lacks is in the backup that has it now.
        string refused = await series.RefusalAsync(series.Images, "c2", 1);
        Assert.Contains("ours.backup.json' bitmap 'c2' records since", refused, StringComparison.Ordinal);
        Assert.Contains(
            "only a comparison, without --trust", await series.RefusalAsync(series.Images, "c2", 1, "--trust"), StringComparison.Ordinal);
    }

    /// <summary>
    /// QEMU clears a bitmap by which it took an incremental backup; who goes on with that beside ours has to adopt those too.
    /// </summary>
    [Fact]
    public async Task ABitmapThatTheOtherProgramClearedSinceIsNotReliedOn()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder, clears: true);
        await series.AdoptAsync("c0");
        await series.WriteAsync("write -P 9 64k 64k");
        await series.PushAsync("inc3", "c0", null, clears: true);
        ProcessResult refused = await Support.Cli.RunAsync("backup", "incremental", series.Disk, series.Image("ours"), "--since", "c0");
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains(
            "differs from it at byte 65536, where bitmap 'c0' is clean. Perhaps the program that started the bitmap took a later backup",
            refused.Error, StringComparison.Ordinal);
        await series.AdoptAsync("c0");
        await series.GoOnAsync("c0");
    }

    /// <summary>Also where backups of ours are between, whether or not they cleared it. They belong to the series then.</summary>
    [Theory]
    [InlineData("on-success")]
    [InlineData("never")]
    public async Task NorIsItBehindABackupOfOurs(string mode)
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder, clears: true);
        await series.AdoptAsync("c0");
        await series.WriteAsync("write -P 9 64k 64k");
        string between = series.Image("between");
        await Support.Cli.OkAsync("backup", "incremental", series.Disk, between, "--since", "c0", "--mode", mode);
        await series.WriteAsync("write -P 10 192k 64k");
        await series.PushAsync("inc3", "c0", null, clears: true);

        ProcessResult refused = await Support.Cli.RunAsync(
            "backup", "incremental", series.Disk, series.Image("ours"), "--since", "c0", "--backing", between);

        Assert.Equal(1, refused.ExitCode);
        Assert.Contains(
            "differs from it at byte 196608, where bitmap 'c0' is clean. Perhaps the program that", refused.Error,
            StringComparison.Ordinal);
        ProcessResult adopted = await series.TryAdoptAsync([.. series.Images.Take(3), between, series.Images[3]], "c0");
        Assert.True(adopted.ExitCode == 0, adopted.Error);
        await series.GoOnAsync("c0");
    }

    /// <summary>Nor is an unfinished backup gone on with by it: what that lacks the bitmap does not mark any more.</summary>
    [Fact]
    public async Task NorIsAnUnfinishedBackupOfOursGoneOnWithByIt()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder, clears: true);
        await series.AdoptAsync("c0");
        await series.WriteAsync("write -P 9 0 3M");
        await Assert.ThrowsAsync<IOException>(() => TakeAsync(new CopyFuse(1 << 20, null)));
        await series.WriteAsync("write -P 10 64k 64k");
        await series.PushAsync("inc3", "c0", null, clears: true);

        BackupException refused = await Assert.ThrowsAsync<BackupException>(() => TakeAsync(null));
        Assert.Contains("where bitmap 'c0' is clean", refused.Message, StringComparison.Ordinal);

        Task TakeAsync(IProgress<OperationProgress>? progress) => DiskBackup.TakeAsync(
            [new BackupDisk(series.Disk, series.Image("ours"))],
            new BackupOptions { Since = "c0", Mode = BitmapSyncMode.Always, Workers = 1 }, progress, PushedSeries.Token);
    }

    [Fact]
    public async Task WhatIsNoBackupOfOursSaysHowItBecomesOne()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder);
        string foreign = series.Images[2];
        foreach (string[] call in new string[][]
        {
            ["incremental", series.Disk, series.Image("ours"), "--since", "c2", "--backing", foreign],
            ["incremental", series.Disk, series.Image("ours"), "--since", "c2", "--backing", foreign + ".backup.json"],
            ["incremental", series.Disk, series.Image("ours"), "--since", "c2"],
            ["verify", foreign],
            ["verify", foreign, "--disk", series.Disk],
            ["restore", foreign, folder.File("restored")],
        })
        {
            ProcessResult refused = await Support.Cli.RunAsync(["backup", .. call]);
            Assert.Equal(1, refused.ExitCode);
            Assert.Contains("backup adopt", refused.Error, StringComparison.Ordinal);
            Assert.DoesNotContain("No such file", refused.Error, StringComparison.Ordinal);
        }

        Assert.Contains(
            "No such file", (await Support.Cli.RunAsync("backup", "verify", series.Image("nothing"))).Error, StringComparison.Ordinal);
        await series.AdoptAsync("c2");
        await series.WriteAsync("write -P 9 0 64k");
        await Support.Cli.OkAsync("backup", "incremental", series.Disk, series.Image("ours"), "--since", "c2", "--backing", foreign);
        await series.AssertRestoresAsync("ours", await series.ReadAsync(series.Disk));
    }

    /// <summary>Clusters smaller than a block of ours, between which what is below has to show through.</summary>
    [Fact]
    public async Task WhatAnImageHasInPiecesLeavesWhatIsBetween()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder);
        string pieces = series.Image("pieces");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", pieces, "3M");
        string[] writes = [
            .. Enumerable.Range(0, 60).Select(static i =>
                $"{(i % 3 == 0 ? "write -z" : "write -P 9")} {PushedSeries.Text((i * 33L << 10) + (i % 5 * 512))} "
                + $"{PushedSeries.Text(512 + (i % 4 * 1024))}")];
        await Qemu.IoOkAsync(pieces, writes);
        await series.WriteAsync(writes);
        await Qemu.ImgOkAsync("bitmap", "--add", series.Disk, "last");
        ProcessResult result = await series.TryAdoptAsync([.. series.Images, pieces], "last");
        Assert.True(result.ExitCode == 0, result.Error);
        await series.AssertRestoresAsync("pieces", await series.ReadAsync(series.Disk));
        Assert.True((await DiskBackup.VerifyAsync(pieces, cancellationToken: PushedSeries.Token)).IsGood);
        await series.GoOnAsync("last");
    }
}
