using System.Globalization;
using FsCheck.Fluent;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups.Adoption;

/// <summary>
/// Whatever QEMU wrote and pushed: a series is adopted if and only if its images, written over one another, are the disk where the bitmap
/// calls it clean; and what is built on it is right.
/// </summary>
public sealed class AdoptHistoryTests
{
    private const int Histories = 8;
    private const int WrongOrders = 6;
    private const int Sector = 512;

    [Fact]
    public void ASeriesIsAdoptedWhereItMakesTheDisk()
    {
        Qemu.Require();
        int right = 0;
        int others = 0;
        int refused = 0;
        Properties.ForAll(Gen.Choose(0, int.MaxValue), Histories * Properties.Factor, seed =>
        {
            var log = new List<string>();
            try
            {
                (int own, int allowed, int wrong) = RunAsync(new SplitMix((ulong)seed), log).GetAwaiter().GetResult();
                right += own;
                others += allowed;
                refused += wrong;
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"Seed {seed}:\n{string.Join('\n', log)}\n{e}", e);
            }
        });
        TestContext.Current.TestOutputHelper?.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture, $"{right} series adopted, {others} others that make the disk too, {refused} refused"));
        Assert.True(refused > Histories * Properties.Factor && others > 0, $"{refused} refused, {others} others adopted");
    }

    private static async Task<(int Right, int Others, int Refused)> RunAsync(SplitMix random, List<string> log)
    {
        using var folder = TempFolder.InMemory();
        long size = Sector * (128L + random.Below(4096));
        string[] clusters = [
            "cluster_size=64k", "cluster_size=4k", "cluster_size=512", "cluster_size=128k,extended_l2=on", "cluster_size=2M",
        ];
        PushedSeries series = await PushedSeries.CreateAsync(folder, PushedSeries.Text(size), options: random.Pick(clusters));
        bool clears = random.Below(2) == 0;
        bool isRaw = random.Below(3) == 0;
        await WriteAsync(series, size, random, log);
        await series.PushAsync("i0", null, "c0", isRaw ? "raw" : "qcow2", random.Pick(clusters));
        int count = 2 + random.Below(3);
        for (int i = 1; i < count; i++)
        {
            await WriteAsync(series, size, random, log);
            string since = clears ? "c0" : $"c{PushedSeries.Text(random.Below(4) == 0 ? 0 : i - 1)}";
            string options = random.Below(3) == 0 ? "compressed" : random.Pick(clusters);
            log.Add($"push {i} since {since} {options} {clears}");
            await series.PushAsync(
                $"i{PushedSeries.Text(i)}", since, clears ? null : $"c{PushedSeries.Text(i)}", options: options, clears: clears);
        }

        if (random.Below(2) == 0)
        {
            await WriteAsync(series, size, random, log);
        }

        string checkpoint = clears ? "c0" : $"c{PushedSeries.Text(random.Below(3) > 0 ? count - 1 : random.Below(count))}";
        log.Add($"adopt by {checkpoint}");
        series.SetTimes([.. Enumerable.Repeat(1, count)]);
        byte[] disk = await series.ReadAsync(series.Disk);
        IReadOnlyList<DirtyExtent> bits = await QemuBitmaps.ReadExtentsAsync(series.Disk, checkpoint);
        var models = new List<ForeignModel>();
        for (int i = 0; i < count; i++)
        {
            models.Add(await ForeignModel.ReadAsync(series, series.Images[i], isRaw && i == 0));
        }

        (int others, int refused) = (0, 0);
        for (int i = 0; i < WrongOrders; i++)
        {
            int[] order = Shuffle(count, random, isRaw);
            bool isDisk = ForeignModel.AreSame(ForeignModel.Overlay(order.Select(index => models[index])), disk, bits);
            log.Add($"order {string.Join(' ', order)}: {isDisk}");
            ProcessResult result = await series.TryAdoptAsync(
                order.Select(index => series.Images[index]), checkpoint, isRaw && order[0] == 0 ? ["-F", "raw"] : []);
            Assert.True((result.ExitCode == 0) == isDisk, $"{result.ExitCode}: {result.Error}");
            others += isDisk ? 1 : 0;
            refused += isDisk ? 0 : 1;
            if (isDisk)
            {
                await Support.Cli.OkAsync(
                    "backup", "incremental", series.Disk, series.Image("next"), "--since", checkpoint, "--mode", "never");
                await series.AssertRestoresAsync("next", disk);
            }

            foreach (string path in Directory.EnumerateFiles(series.Folder).Except(series.Images))
            {
                File.Delete(path);
            }
        }

        await series.AdoptAsync(checkpoint, isRaw ? ["-F", "raw"] : []);
        for (int i = 0; i < count; i++)
        {
            await series.AssertRestoresAsync(Path.GetFileName(series.Images[i]), series.Contents[i]);
        }

        await series.GoOnAsync(checkpoint, Writes(size, random));
        return (1, others, refused);
    }

    /// <summary>Some of the images in some order; a raw one only in the first place.</summary>
    private static int[] Shuffle(int count, SplitMix random, bool isRaw)
    {
        List<int> order = [.. Enumerable.Range(0, count)];
        for (int i = count - 1; i > 0; i--)
        {
            int other = random.Below(i + 1);
            (order[i], order[other]) = (order[other], order[i]);
        }

        if (isRaw || random.Below(2) == 0)
        {
            order.Remove(0);
            order.Insert(0, 0);
        }

        return [.. order.Take(1 + random.Below(count))];
    }

    private static async Task WriteAsync(PushedSeries series, long size, SplitMix random, List<string> log)
    {
        string[] commands = Writes(size, random);
        log.Add(string.Join(", ", commands));
        await series.WriteAsync(commands);
    }

    private static string[] Writes(long size, SplitMix random)
    {
        var commands = new List<string>();
        for (int i = 1 + random.Below(4); i > 0; i--)
        {
            long offset = Sector * random.Below((int)(size / Sector));
            long length = Math.Min(size - offset, Sector * (1L + random.Below(512)));
            string range = string.Create(CultureInfo.InvariantCulture, $"{offset} {length}");
            commands.Add(random.Below(6) switch
            {
                0 => $"write -z {range}",
                1 => $"write -z -u {range}",
                2 => $"discard {range}",
                int other => $"write -P {PushedSeries.Text(1 + (other * 40) + random.Below(10))} {range}",
            });
        }

        return [.. commands];
    }
}
