using System.Text.Json.Nodes;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups.Adoption;

/// <summary>
/// A series that is not one of the disk, or not in order, is refused with what was found and what is expected, and nothing is written.
/// </summary>
public sealed class AdoptRefusalTests
{
    private static CancellationToken Token => PushedSeries.Token;

    [Fact]
    public async Task AWrongOrderIsTold()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder);
        string[] all = ["full", "inc1", "inc2"];
        series.SetTimes(1, 2, 3);
        foreach ((string[] order, string expected) in new (string[], string)[]
        {
            (["full", "inc2", "inc1"], "inc1' was last written at 2026-01-01 00:02:00.0000000Z, and stands behind 'B/inc2', "
                + "written at 2026-01-01 00:03:00.0000000Z. Expected by the times: 'B/full', 'B/inc1', 'B/inc2'."),
            (["inc1", "full", "inc2"], "Expected by the times: 'B/full', 'B/inc1', 'B/inc2'."),
            (["inc2", "inc1", "full"], "Expected by the times: 'B/full', 'B/inc1', 'B/inc2'."),
        })
        {
            Assert.Contains(Whole(expected), await series.RefusalAsync(order.Select(series.Image), "c2", 1), StringComparison.Ordinal);
            Assert.Contains(
                Whole(expected), await series.RefusalAsync(order.Select(series.Image), "c2", 1, "--trust"), StringComparison.Ordinal);
        }

        // Where times tell nothing, what the images have does.
        series.SetTimes(1, 1, 1);
        foreach ((string[] order, string expected) in new (string[], string)[]
        {
            (["full", "inc2", "inc1"], "at byte 327680, where bitmap 'c2' is clean, the disk differs from 'B/inc1', "
                + "the last one that has something there, and is as 'B/inc2' has it: the order may be wrong. Expected: "
                + "'B/inc2' behind 'B/inc1'"),
            (["inc1", "full", "inc2"], "Expected: 'B/inc1' behind 'B/full'"),
            (["full", "inc2"], "at byte 262144, where bitmap 'c2' is clean, the disk differs from 'B/full', "
                + "the last one that has something there, and no image has there what it has. Expected: the whole series"),
            (["inc1", "inc2"], "differs from zeros, as no image has anything there, and no image has there what it has"),
            (["full", "inc1"], "the disk differs from 'B/inc1'"),
            (["full"], "the disk differs from 'B/full'"),
        })
        {
            Assert.Contains(Whole(expected), await series.RefusalAsync(order.Select(series.Image), "c2", 1), StringComparison.Ordinal);
        }

        foreach (string image in all)
        {
            string refused = await series.RefusalAsync([.. all.Select(series.Image), series.Image(image)], "c2", 1);
            Assert.Contains(Whole($"'B/{image}' and 'B/{image}' are one file"), refused, StringComparison.Ordinal);
        }

        // By an older bitmap what changed since that is not compared, and copied again.
        await series.AdoptAsync("c0");
        await series.GoOnAsync("c0");

        string Whole(string text) => text.Replace("B/", series.Folder + "/", StringComparison.Ordinal);
    }

    /// <summary>
    /// A restore of Kubernetes backups once gave all increments the full backup as their backing file, and lost what was between.
    /// </summary>
    [Fact]
    public async Task BackingFilesDecideTheOrder()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder);
        await BackAsync("inc1", "full");
        await BackAsync("inc2", "full");
        string refused = await series.RefusalAsync(series.Images, "c2", 1);
        Assert.Contains(
            $"inc2' names 'full' as its backing file, but '{series.Image("inc1")}' stands before it. If it holds what changed since "
            + $"'full', leave out what stands between.",
            refused, StringComparison.Ordinal);
        Assert.Contains("'rebase -u -b inc1 -F qcow2' mends that", refused, StringComparison.Ordinal);
        // As the names say it, it is not the disk.
        Assert.Contains(
            "no image has there what it has", await series.RefusalAsync([series.Images[0], series.Images[2]], "c2", 1),
            StringComparison.Ordinal);

        await BackAsync("inc2", "inc1");
        series.SetTimes(3, 2, 1);
        foreach (string[] order in new string[][] { ["full", "inc2", "inc1"], ["inc1", "full", "inc2"], ["inc2", "inc1", "full"] })
        {
            Assert.Contains(
                $"Expected by the backing files: {string.Join(", ", series.Images.Select(static image => $"'{image}'"))}",
                await series.RefusalAsync(order.Select(series.Image), "c2", 1), StringComparison.Ordinal);
        }

        Assert.Contains(
            "inc1' names 'full' as its backing file, but stands first. Expected: ",
            await series.RefusalAsync([.. series.Images.Skip(1)], "c2", 1), StringComparison.Ordinal);
        File.Move(series.Image("full"), series.Image("moved"));
        Assert.Contains(
            "no file has that name", await series.RefusalAsync([series.Image("moved"), .. series.Images.Skip(1)], "c2", 1),
            StringComparison.Ordinal);
        File.Move(series.Image("moved"), series.Image("full"));

        // Names prove the order, whatever became of the times.
        await series.AdoptAsync("c2");
        await series.GoOnAsync("c2");
        for (int i = 0; i < 3; i++)
        {
            await series.AssertRestoresAsync(Path.GetFileName(series.Images[i]), series.Contents[i]);
        }

        // And then QEMU reads the chain of the backups too.
        Assert.Equal(await series.ReadAsync(series.Disk), await series.ReadAsync(series.Image("ours2")));

        Task BackAsync(string image, string name) => Qemu.ImgOkAsync("rebase", "-u", "-b", name, "-F", "qcow2", series.Image(image));
    }

    [Fact]
    public async Task BackupsOfAnotherDiskAreNoticed()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder);
        PushedSeries other = await PushedSeries.CreateAsync(folder, name: "other");
        await other.WriteAsync("write -P 1 0 2M", "write -P 6 1M 64k");
        await other.PushAsync("o-full", null, "c2");
        Assert.Contains("the disk differs from", await series.RefusalAsync(other.Images, "c2", 1), StringComparison.Ordinal);
        Assert.Contains("the disk differs from", await other.RefusalAsync(series.Images, "c2", 1), StringComparison.Ordinal);
        Assert.Contains("its data are those of the disk", await series.RefusalAsync([series.Disk], "c2", 1), StringComparison.Ordinal);
        // The other one's last image where ours belongs.
        series.SetTimes(1, 1, 1);
        File.Copy(other.Images[0], series.Image("copied"));
        Assert.Contains(
            "the disk differs from", await series.RefusalAsync([.. series.Images, series.Image("copied")], "c2", 1),
            StringComparison.Ordinal);
    }

    /// <summary>It would agree with itself.</summary>
    [Fact]
    public async Task TheDataFileOfTheDiskIsNoBackupOfIt()
    {
        using var folder = TempFolder.InMemory();
        string data = folder.File("disk.raw.data");
        PushedSeries series = await PushedSeries.CreateAsync(folder, options: $"data_file={data},data_file_raw=on");
        await series.WriteAsync("write -P 1 0 2M");
        await Qemu.ImgOkAsync("bitmap", "--add", series.Disk, "c");
        foreach (string[] more in new string[][] { [], ["--trust"] })
        {
            Assert.Contains(
                $"its data are those of the disk, in '{data}'", await series.RefusalAsync([data], "c", 1, ["-F", "raw", .. more]),
                StringComparison.Ordinal);
        }

        await series.PushAsync("full", null, "d", "raw");
        await series.AdoptAsync("d", "-F", "raw");
        await series.GoOnAsync("d");
    }

    [Theory]
    [InlineData("qcow2")]
    [InlineData("raw")]
    public async Task AFileThatWasCutIsNoticed(string format)
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder, format: format);
        string[] more = format == "raw" ? ["-F", "raw"] : [];
        byte[] whole = await File.ReadAllBytesAsync(series.Images[0], Token);
        // Zeros at the end of a raw file are not missed.
        foreach (long length in new[] { 0, 511, 64 << 10, 300 << 10, 1 << 20, format == "raw" ? (2 << 20) - 512 : whole.Length - 512 })
        {
            await CutAsync(series.Images[0], whole, length);
            await series.RefusalAsync(series.Images, "c2", 1, more);
            await series.RefusalAsync(series.Images, "c2", 1, [.. more, "--trust"]);
        }

        await CutAsync(series.Images[0], whole, whole.Length);
        whole = await File.ReadAllBytesAsync(series.Images[1], Token);
        // What it has last is hidden by the one above; restored to its own point it would be missed.
        foreach (long length in new[] { 0, 64 << 10, 300 << 10, whole.Length - (64 << 10) })
        {
            await CutAsync(series.Images[1], whole, length);
            await series.RefusalAsync(series.Images, "c2", 1, more);
            await series.RefusalAsync(series.Images, "c2", 1, [.. more, "--trust"]);
        }

        await CutAsync(series.Images[1], whole, whole.Length);
        await series.AdoptAsync("c2", more);

        async Task CutAsync(string path, byte[] bytes, long length)
        {
            await File.WriteAllBytesAsync(path, bytes[..(int)length], Token);
            series.SetTimes(1, 2, 3);
        }
    }

    [Fact]
    public async Task SizesDoNotFallAndADiskThatGrewIsCompared()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder);
        await Qemu.ImgOkAsync("resize", "-q", series.Disk, "5M");
        Assert.Contains(
            "is of a disk of 3145728 bytes, but the disk has 5242880: whether that grew since",
            await series.RefusalAsync(series.Images, "c2", 1, "--trust"), StringComparison.Ordinal);
        await series.WriteAsync("write -P 7 2900k 400k");
        await series.PushAsync("inc3", "c2", "c3");
        Assert.Contains(
            "inc2' is of a disk of 3145728 bytes, and stands behind '" + series.Image("inc3")
            + "', of 5242880 bytes. Expected: sizes that do not fall",
            await series.RefusalAsync([.. series.Images.Take(2), series.Image("inc3"), series.Image("inc2")], "c3", 1),
            StringComparison.Ordinal);
        await series.AdoptAsync("c3");
        await series.AssertRestoresAsync("inc3", series.Contents[3]);
        await series.GoOnAsync("c3", "write -P 3 3M 64k", "write -z 2900k 4k");

        foreach (string path in Directory.EnumerateFiles(series.Folder, "*.backup.json"))
        {
            File.Delete(path);
        }

        await Qemu.ImgOkAsync("resize", "-q", "--shrink", series.Disk, "2M");
        Assert.Contains(
            "is of a disk of 5242880 bytes, but the disk has 2097152: it is another disk, or it shrank",
            await series.RefusalAsync(series.Images, "c3", 1), StringComparison.Ordinal);
    }

    /// <summary>QEMU leaves dirty zeros out of images of version 2, which have no way to say so.</summary>
    [Fact]
    public async Task AnImageThatHoldsNoZerosIsTold()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder, options: "compat=0.10");
        Assert.Contains(
            "which '" + series.Image("inc1") + "' cannot hold: it is of version 2", await series.RefusalAsync(series.Images, "c2", 1),
            StringComparison.Ordinal);
        Assert.Contains(
            "is of version 2, and cannot hold zeros: whether anything became zeros, only a comparison tells",
            await series.RefusalAsync(series.Images, "c2", 1, "--trust"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ABitmapThatIsNotValidIsNotReliedOn()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder);
        Assert.Contains("not valid (", await series.RefusalAsync(series.Images, "gone", 2), StringComparison.Ordinal);
        await Qemu.ImgOkAsync("bitmap", "--disable", series.Disk, "c2");
        Assert.Contains("not-recording", await series.RefusalAsync(series.Images, "c2", 2), StringComparison.Ordinal);
        await Qemu.ImgOkAsync("bitmap", "--enable", series.Disk, "c2");
        // One that started later misses what changed before.
        await series.WriteAsync("write -P 9 64k 64k");
        await Qemu.ImgOkAsync("bitmap", "--add", series.Disk, "late");
        Assert.Contains(
            "at byte 65536, where bitmap 'late' is clean", await series.RefusalAsync(series.Images, "late", 1), StringComparison.Ordinal);
        string journal = await BrokenJournalAsync(series.Disk);
        Assert.Contains("bitmap --recover", await series.RefusalAsync(series.Images, "c2", 1), StringComparison.Ordinal);
        File.Delete(journal);
        await series.AdoptAsync("c2");
    }

    /// <summary>Nothing is later than the end of time.</summary>
    [Fact]
    public async Task NothingStandsOnABackupOfTheEndOfTime()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder);
        Assert.Equal(0, (await series.TryAdoptAsync([series.Images[0]], "c0")).ExitCode);
        string manifest = series.Image("full.backup.json");
        JsonNode json = JsonNode.Parse(await File.ReadAllTextAsync(manifest, Token))!;
        json["created"] = "9999-12-31T23:59:59.9999999Z";
        await File.WriteAllTextAsync(manifest, json.ToJsonString(), Token);
        Assert.Contains(
            "full.backup.json' says that it was taken at the end of time", await series.RefusalAsync(series.Images, "c2", 1),
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task WhatCannotBeABackupIsRefused()
    {
        using var folder = TempFolder.InMemory();
        PushedSeries series = await PushedSeries.OfThreeAsync(folder);
        string elsewhere = folder.File("elsewhere");
        File.Copy(series.Images[0], elsewhere);
        File.CreateSymbolicLink(series.Image("link"), elsewhere);
        await File.WriteAllTextAsync(series.Image("x.partial"), "", Token);
        string longName = series.Image(new string('n', 250));
        File.Copy(series.Images[0], longName);
        foreach ((string[] images, string expected) in new (string[], string)[]
        {
            ([series.Images[0], elsewhere], "a backup and those that it is based on must be in one folder"),
            ([series.Image("link")], "outside the allowed folders"),
            ([series.Image("x.partial")], "a name that a backup gives to other files"),
            ([series.Image("full.backup.json")], "a name that a backup gives to other files"),
            ([longName], "cannot be stored in a manifest"),
            ([series.Image("nothing")], "No such file"),
            ([series.Folder], "directory"),
            ([series.Images[0], series.Image("x.raw")], "No such file"),
        })
        {
            Assert.Contains(expected, await series.RefusalAsync(images, "c2", 1), StringComparison.Ordinal);
        }

        // Only a full backup can be raw.
        string raw = series.Image("raw");
        await Qemu.ImgOkAsync("convert", "-O", "raw", series.Disk, raw);
        await series.RefusalAsync([series.Images[0], raw], "c2", 1);
        foreach (string held in new[] { series.Images[1], series.Disk })
        {
            await using QemuIoHolder holder = await QemuIoHolder.StartAsync(held);
            ProcessResult result = await series.TryAdoptAsync(series.Images, "c2");
            Assert.Equal(1, result.ExitCode);
            Assert.Contains("Is another process using the image", result.Error, StringComparison.Ordinal);
            Assert.Empty(Directory.EnumerateFiles(series.Folder, "*.backup.json"));
        }

        foreach (string[] call
            in new string[][]
            {
                ["--checkpoint", "c2", "full"],
                ["--disk", series.Disk, "full"],
                ["--disk", series.Disk, "--checkpoint", "c2"],
                ["--disk", series.Disk, "--checkpoint", "", "full"],
            })
        {
            ProcessResult result = await Support.Cli.RunAsync(["backup", "adopt", .. call]);
            Assert.Equal(1, result.ExitCode);
            Assert.NotEmpty(result.Error);
        }
    }

    /// <summary>What an edit that was stopped leaves: its mere name counts.</summary>
    private static async Task<string> BrokenJournalAsync(string disk)
    {
        string journal = BitmapEditSet.JournalPathOf(disk);
        await File.WriteAllTextAsync(journal, "", Token);
        return journal;
    }
}
