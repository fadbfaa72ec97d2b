using System.Diagnostics;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>The tool, killed at any moment, leaves the image as before or as after.</summary>
public sealed class KilledToolTests
{
    private const int Rounds = 25;
    private const long DiskBytes = 96L << 30;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task KilledAgainAndAgain()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = folder.File("a.qcow2");
        await CreateAsync(path);
        var random = new SplitMix(25);
        var clock = Stopwatch.StartNew();
        Assert.Equal(0, await RunAsync(int.MaxValue, StepsFor(hasNew: false, 0, path)));
        int longestMs = (int)clock.ElapsedMilliseconds + 50;

        int killed = 0;
        for (int round = 0; round < Rounds || killed == 0; round++)
        {
            ImageState before = await ReadAsync(path);
            string[] steps = StepsFor(before.Bitmaps.Any(static b => b.Name == "new"), round, path);
            ImageState after = await ExpectAsync(folder, path, steps);
            // The first of the time goes by before the tool does anything.
            int afterMs = (longestMs / 4) + random.Below(longestMs);

            clock.Restart();
            int exitCode = await RunAsync(afterMs, steps);
            // The machine may be busier now, or less so.
            longestMs = exitCode == 0 ? (int)clock.ElapsedMilliseconds : longestMs;

            string context = $"round {round}, '{string.Join(' ', steps)}' killed after {afterMs} ms, exit code {exitCode}";
            ImageState state = await ReadAsync(path);
            Assert.True(
                state.IsSound && (state.IsSameAs(after) || (exitCode != 0 && state.IsSameAs(before))),
                $"{context}: is neither as before nor as after\n{state}before:\n{before}after:\n{after}");
            await QemuOpinion.AssertAgreesAsync(path, state, context);
            killed += exitCode == 0 ? 0 : 1;
        }
    }

    private static async Task CreateAsync(string path)
    {
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", path, $"{DiskBytes}");
        await Qemu.IoOkAsync(path, "write -q -P 7 0 1M");
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token);
        await image.Bitmaps.EditAsync(
            edit => edit.Add("source", 4096)
                .Merge(RandomBits(1, image), into: "source")
                .Add("target", 65536)
                .Merge(RandomBits(2, image), into: "target"),
            Token);
    }

    private static DirtyBitmap RandomBits(ulong seed, Qcow2Image image)
    {
        var random = new SplitMix(seed);
        var bits = new DirtyBitmap(image.VirtualSizeBytes, 4096);
        for (int i = 0; i < 20_000; i++)
        {
            bits.Set((long)(random.Next() % (DiskBytes >> 12)) << 12, 4096);
        }

        return bits;
    }

    /// <summary>What to run: a bitmap of 3 MiB comes, is merged into, and goes.</summary>
    private static string[] StepsFor(bool hasNew, int round, string path) => !hasNew
        ? ["bitmap", "--add", "--merge", "source", "-g", "4k", path, "new"]
        : round % 2 == 0
            ? ["bitmap", "--disable", "--merge", "target", path, "new"]
            : ["bitmap", "--remove", path, "new"];

    private static async Task<int> RunAsync(int killedAfterMs, string[] arguments)
    {
        using Process process = Tool.Start(null, arguments);
        using var giveUp = new CancellationTokenSource(killedAfterMs);
        try
        {
            await process.WaitForExitAsync(giveUp.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            await process.WaitForExitAsync(Token);
        }

        return process.ExitCode;
    }

    /// <summary>What the image is after steps that nobody interrupts.</summary>
    private static async Task<ImageState> ExpectAsync(TempFolder folder, string path, string[] steps)
    {
        string copy = folder.File("copy.qcow2");
        File.Copy(path, copy, overwrite: true);
        ProcessResult result = await Support.Cli.RunAsync([.. steps.Select(step => step == path ? copy : step)]);
        Assert.True(result.ExitCode == 0, result.Error);
        return await ReadAsync(copy);
    }

    private static async Task<ImageState> ReadAsync(string path) => await ImageState.ReadAsync(await File.ReadAllBytesAsync(path, Token));
}
