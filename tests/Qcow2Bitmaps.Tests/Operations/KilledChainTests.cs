using System.Diagnostics;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// The tool, killed at any moment while it changes a chain, leaves one that the guest sees as before; run
/// again it ends as if nobody had killed it.
/// </summary>
public sealed class KilledChainTests
{
    private const int Rounds = 3;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("commit", "chain commit --active top.qcow2 mid.qcow2 base.qcow2", "top.qcow2")]
    [InlineData("commit of all", "chain commit top.qcow2 base.qcow2", "base.qcow2")]
    [InlineData("pull", "chain pull top.qcow2", "top.qcow2")]
    [InlineData("rebase", "chain rebase -b base.qcow2 -F qcow2 top.qcow2", "top.qcow2")]
    [InlineData("populate", "chain populate --all-dirty top.qcow2 lost", "top.qcow2")]
    [InlineData("snapshot", "chain snapshot top.qcow2 new.qcow2", "new.qcow2")]
    [InlineData("flatten", "chain flatten top.qcow2 flat.qcow2", "flat.qcow2")]
    public async Task KilledItIsRunAgainAndEndsTheSame(string kind, string command, string end)
    {
        Qemu.Require();
        using var start = new TempFolder();
        using var folder = new TempFolder();
        await MakeAsync(start);
        var random = new SplitMix((ulong)kind.Length);
        Copy(start, folder);
        var clock = Stopwatch.StartNew();
        Assert.Equal(0, await RunAsync(folder, command, int.MaxValue));
        int longestMs = (int)clock.ElapsedMilliseconds;
        string expected = await DescribeAsync(folder, end);
        string view = await HashAsync(folder, end);
        string[] files = Names(folder);
        int killed = 0;
        for (int round = 0; round < Rounds * Properties.Factor || killed == 0; round++)
        {
            Copy(start, folder);
            int exitCode = -1;
            int kills = 0;
            // The first of the time goes by before the tool does anything; killed twice, then left alone.
            for (; kills < 2 && exitCode != 0 && !IsDone(folder, kind); kills++)
            {
                clock.Restart();
                exitCode = await RunAsync(folder, command, (longestMs / 4) + random.Below(longestMs * 3 / 4));
                // The machine may be busier now, or less so.
                longestMs = exitCode == 0 ? (int)clock.ElapsedMilliseconds : longestMs;
                string context = $"{kind}, round {round}, exit code {exitCode}";
                killed += exitCode == 0 ? 0 : 1;
                string seen = Path.Exists(folder.File("top.qcow2")) ? "top.qcow2" : end;
                if (seen != "top.qcow2" || await IsWholeAsync(folder))
                {
                    Assert.True(await HashAsync(folder, seen) == view, $"{context}: the guest sees something else");
                }

                if (kind is "snapshot" or "flatten" && Path.Exists(folder.File(end)) && await IsImageAsync(folder.File(end)))
                {
                    Assert.True(
                        await HashAsync(folder, end) == view && await DescribeAsync(folder, end) == expected,
                        $"{context}: the new image is not whole");
                }

                foreach (string image in Names(folder).Where(name => name is "top.qcow2" or "mid.qcow2" or "base.qcow2"))
                {
                    ProcessResult check = await Qemu.ImgAsync("check", QemuBitmaps.WithoutBacking(folder.File(image)));
                    Assert.True(check.ExitCode is 0 or 3, $"{context}: {image}: {check.Output}{check.Error}");
                }
            }

            if (exitCode != 0 && !IsDone(folder, kind))
            {
                Assert.Equal(0, await RunAsync(folder, command, int.MaxValue));
            }

            Assert.Equal(expected, await DescribeAsync(folder, end));
            Assert.Equal(view, await HashAsync(folder, end));
            // A snapshot that is killed may leave the file under the name that it has until it is whole.
            Assert.Equal(
                files,
                kind == "snapshot"
                    ? [.. Names(folder).Where(static name => name.EndsWith(".qcow2", StringComparison.Ordinal))]
                    : Names(folder));
        }
    }

    /// <summary>Three images with 16 MiB of data each; bitmap "all" is in all of them, "lost" not in the one between.</summary>
    private static async Task MakeAsync(TempFolder folder)
    {
        string? below = null;
        int value = 1;
        foreach (string name in new[] { "base.qcow2", "mid.qcow2", "top.qcow2" })
        {
            string path = folder.File(name);
            await Qemu.ImgOkAsync(
                ["create", "-q", "-f", "qcow2", .. below is null ? Array.Empty<string>() : ["-b", below, "-F", "qcow2"], path, "64M"]);
            await Qemu.ImgOkAsync("bitmap", "--add", path, "all");
            if (name != "mid.qcow2")
            {
                await Qemu.ImgOkAsync("bitmap", "--add", path, "lost");
            }

            await Qemu.IoOkAsync(
                path, [.. Enumerable.Range(0, 64).Select(i => $"write -q -P {(value * 60) + i} {(i * 1024) + (value * 128)}k 256k")]);
            (below, value) = (name, value + 1);
        }
    }

    private static void Copy(TempFolder from, TempFolder to)
    {
        foreach (string path in Directory.GetFiles(to.Path))
        {
            File.Delete(path);
        }

        foreach (string path in Directory.GetFiles(from.Path))
        {
            File.Copy(path, to.File(Path.GetFileName(path)));
        }
    }

    private static string[] Names(TempFolder folder) =>
        [.. Directory.GetFiles(folder.Path).Select(static path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    /// <summary>Whether it was killed when nothing was left to do: run again it would say that the image is gone, or there.</summary>
    private static bool IsDone(TempFolder folder, string kind) => kind switch
    {
        "commit" => !Path.Exists(folder.File("mid.qcow2")) && !Path.Exists(folder.File("mid.qcow2.committed")),
        "commit of all" => !Path.Exists(folder.File("top.qcow2")) && !Path.Exists(folder.File("top.qcow2.committed")),
        "snapshot" => Path.Exists(folder.File("new.qcow2")),
        _ => false,
    };

    /// <summary>Whether no image of the chain is missing: committed ones are removed from the bottom up.</summary>
    private static async Task<bool> IsWholeAsync(TempFolder folder) =>
        (await Qemu.ImgAsync("info", "--backing-chain", folder.File("top.qcow2"))).ExitCode == 0;

    private static async Task<bool> IsImageAsync(string path)
    {
        byte[] content = await File.ReadAllBytesAsync(path, Token);
        return content.AsSpan().StartsWith("QFI"u8);
    }

    private static async Task<string> HashAsync(TempFolder folder, string image)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(folder.File(image), cancellationToken: Token);
        await using Stream stream = chain.OpenStream();
        return Convert.ToHexString(await System.Security.Cryptography.SHA256.HashDataAsync(stream, Token));
    }

    private static async Task<string> DescribeAsync(TempFolder folder, string image)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(folder.File(image), cancellationToken: Token);
        var lines = new List<string>(chain.Layers.Select(static layer => Path.GetFileName(layer.Path)));
        foreach (BitmapVerdict verdict in await chain.JudgeBitmapsAsync(cancellationToken: Token))
        {
            List<DirtyExtent> extents = verdict.IsValid
                ? await chain.ReadExtentsAsync(verdict.Name, cancellationToken: Token).ToListAsync(Token)
                : [];
            lines.Add(
                $"{verdict.Name} {verdict.Reason} "
                + $"{string.Join(' ', extents.Select(static extent => (extent.OffsetBytes, extent.LengthBytes)))}");
        }

        return string.Join('\n', lines);
    }

    private static async Task<int> RunAsync(TempFolder folder, string command, int killedAfterMs)
    {
        using Process process = Tool.Start(folder.Path, command.Split(' '));
        Task<string> error = process.StandardError.ReadToEndAsync(Token);
        using var giveUp = new CancellationTokenSource(killedAfterMs);
        try
        {
            await process.WaitForExitAsync(giveUp.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            await process.WaitForExitAsync(Token);
            return -1;
        }

        Assert.True(process.ExitCode == 0, await error);
        return process.ExitCode;
    }
}
