using System.Globalization;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>
/// Every verb with its options at their limits and one beyond: an exit code that is documented, one line on standard error or those that
/// qemu-img prints, no exception, bounded memory.
/// </summary>
public sealed class LimitsTests
{
    // All that is allocated, most of it for a moment.
    private const long MaxAllocatedBytes = 16L << 30;
    private const int MostBitmaps = 65_535;

    // qemu-img's lines behind an error, and what a check lists.
    private static readonly string[] s_qemuLines = [
        "Try '",
        "Optional suffix",
        "and exabytes",
        "qcow2bitmaps: kilobytes, megabytes",
        "qcow2bitmaps: exabytes",
        "ERROR ",
        "Leaked cluster",
        "Could not open backing image",
        "qcow2bitmaps: Invalid options for file format",
    ];

    private static readonly string[] s_sizes =
    [
        "0", "1", "511", "512", "513", "64k", "1048577", "1T", "1099511628288", "128G", "137438953984", "129G", "2P", "2251799813685760",
        "4P", "2E", "9223372035781033984",
        "9223372035781034496", "9223372036854775807", "8E", "16E", "18446744073709551616", "-1",
    ];

    private static readonly string[] s_clusters = ["0", "1", "511", "512", "1k", "64k", "2M", "4M", "2147483648", "8E", "-1"];

    private static readonly string[] s_granularities = [
        "0", "1", "256", "511", "512", "513", "64k", "2G", "4G", "8E", "9223372036854775807", "16E", "-1",
    ];

    public static TheoryData<string> Clusters => [.. s_clusters];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Clusters))]
    public async Task OfCreatingAndMeasuring(string cluster)
    {
        using var folder = TempFolder.InMemory();
        var run = new Run();
        foreach (string size in s_sizes)
        {
            foreach (string more
                in new[]
                {
                    "",
                    ",refcount_bits=1",
                    ",refcount_bits=64",
                    ",extended_l2=on",
                    ",compat=0.10",
                    ",refcount_bits=65",
                    ",lazy_refcounts=on",
                })
            {
                string image = folder.File("a.qcow2");
                await run.ExpectAsync("create", "-q", "-f", "qcow2", "-o", $"cluster_size={cluster}{more}", image, size);
                await run.ExpectAsync("measure", "-O", "qcow2", "-o", $"cluster_size={cluster}{more}", "--size", size);
                File.Delete(image);
            }

            await run.ExpectAsync("create", "-q", "-f", "raw", folder.File("a.raw"), size);
            File.Delete(folder.File("a.raw"));
            await run.ExpectAsync("measure", "-O", "raw", "--size", size);
        }

        run.End();
    }

    /// <summary>
    /// The largest disks of their cluster sizes, the smallest, and odd ones, with every verb that reads and
    /// those that change metadata only.
    /// </summary>
    [Theory]
    [InlineData("512", "0")]
    [InlineData("512", "512")]
    [InlineData("512", "1T")]
    [InlineData("512", "128G")]
    [InlineData("64k", "0")]
    [InlineData("64k", "1048577")]
    [InlineData("64k", "2P")]
    [InlineData("2M", "512")]
    [InlineData("2M", "4P")]
    [InlineData("2M", "2E")]
    public async Task OfImages(string cluster, string size)
    {
        using var folder = TempFolder.InMemory();
        var run = new Run();
        string path = folder.File("a.qcow2");
        await run.ExpectAsync("create", "-q", "-f", "qcow2", "-o", $"cluster_size={cluster}", path, size);
        if (Path.Exists(path))
        {
            await ReadAsync(run, folder, path);
            await EditAsync(run, folder, path);
            foreach (string to in s_sizes)
            {
                string copy = folder.File("resized.qcow2");
                File.Copy(path, copy, overwrite: true);
                await run.ExpectAsync("resize", "--shrink", copy, to);
                await run.ExpectAsync("resize", copy, "+" + to);
                await run.ExpectAsync("check", copy);
            }
        }

        run.End();
    }

    [Theory]
    [InlineData("0")]
    [InlineData("1")]
    [InlineData("511")]
    [InlineData("513")]
    [InlineData("1T")]
    [InlineData("9223372035781033984")]
    [InlineData("9223372035781033985")]
    [InlineData("9223372036854775807")]
    public async Task OfRawFiles(string size)
    {
        using var folder = TempFolder.InMemory();
        var run = new Run();
        if (size.Length > 4 && !folder.HoldsFilesOf(long.MaxValue))
        {
            return;
        }

        string path = folder.File("a.raw");
        using (FileStream file = File.Create(path))
        {
            file.SetLength(size == "1T" ? 1L << 40 : long.Parse(size, CultureInfo.InvariantCulture));
        }

        await ReadAsync(run, folder, path);
        foreach (string to in s_sizes)
        {
            await run.ExpectAsync("resize", "-f", "raw", "--shrink", path, to);
        }

        run.End();
    }

    /// <summary>QEMU checks files of up to 2^31-1 clusters; the rest of the verbs has no such limit.</summary>
    [Theory]
    [InlineData(int.MaxValue)]
    [InlineData(int.MaxValue + 1L)]
    [InlineData(int.MaxValue + 2L)]
    public async Task OfFilesOfManyClusters(long clusters)
    {
        using var folder = TempFolder.InMemory();
        var run = new Run();
        string path = folder.File("a.qcow2");
        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", path, "1M");
        await using (var storage = FileStorage.Open(path, FileAccess.ReadWrite))
        {
            await storage.SetLengthAsync(clusters * 512, Token);
        }

        foreach (string[] command in new string[][]
        {
            ["info", path], ["check", path], ["map", path], ["bitmap", "--add", path, "b"], ["snapshot", "-c", "s", path],
            ["resize", path, "2M"], ["measure", "-O", "qcow2", path],
            ["chain", "check", path], ["bitmap", "--remove", path, "b"], ["snapshot", "-d", "s", path], ["check", "-r", "all", path],
        })
        {
            await run.ExpectAsync(command);
        }

        run.End();
    }

    [Fact]
    public async Task OfTheMostBitmaps()
    {
        using var folder = TempFolder.InMemory();
        var run = new Run();
        string path = folder.File("a.qcow2");
        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", path, "1M");
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token))
        {
            await image.Bitmaps.EditAsync(
                static edit =>
                {
                    for (int i = 0; i < MostBitmaps; i++)
                    {
                        edit.Add($"b{i}");
                    }
                },
                Token);
        }

        foreach (string[] command in new string[][]
        {
            ["bitmap", "--add", path, "one-more"], ["info", path], ["check", path], ["bitmap", "--add", path, "one-more"],
            ["snapshot", "-c", "s", path], ["resize", path, "2M"],
            ["chain", "snapshot", path, folder.File("over.qcow2")], ["bitmap", "--clear", path, "b1"],
            ["backup", "full", path, folder.File("saved"), "--checkpoint", "c"],
            ["bitmap", "--remove-all", path], ["check", path],
        })
        {
            await run.ExpectAsync(command);
        }

        Assert.Contains(run.Lines, static line => line.StartsWith("1 bitmap --add", StringComparison.Ordinal));
        run.End();
    }

    private static async Task ReadAsync(Run run, TempFolder folder, string path)
    {
        string format = path.EndsWith(".raw", StringComparison.Ordinal) ? "raw" : "qcow2";
        foreach (string[] command in new string[][]
        {
            ["info", path], ["info", "--output", "json", path], ["check", path], ["map", path], ["map", "--output", "json", path],
            ["measure", "-O", "raw", path], ["chain", "check", path],
            ["chain", "measure", path, "--snapshot"], ["compare", path, path],
        })
        {
            await run.ExpectAsync(command);
        }

        foreach (string at in s_sizes)
        {
            await run.ExpectAsync("map", "-s", at, path);
            await run.ExpectAsync("map", "-l", at, path);
        }

        foreach (string cluster in s_clusters)
        {
            await run.ExpectAsync("measure", "-f", format, "-O", "qcow2", "-o", $"cluster_size={cluster}", path);
            await run.ExpectAsync("convert", "-f", format, "-O", "qcow2", "-o", $"cluster_size={cluster}", path, folder.File("out"));
            await run.ExpectAsync("convert", "-f", format, "-O", "qcow2", "-S", cluster, "-m", cluster, path, folder.File("out"));
            File.Delete(folder.File("out"));
        }

        await run.ExpectAsync("convert", "-f", format, "-O", "qcow2", "-o", "cluster_size=2M", path, path, folder.File("out"));
        File.Delete(folder.File("out"));
    }

    private static async Task EditAsync(Run run, TempFolder folder, string path)
    {
        foreach (string granularity in s_granularities)
        {
            await run.ExpectAsync("bitmap", "--add", "-g", granularity, path, "g" + granularity);
        }

        string over = folder.File("over.qcow2");
        foreach (string[] command in new string[][]
        {
            ["bitmap", "--add", path, new string('n', 1023)], ["bitmap", "--add", path, new string('n', 1024)],
            ["bitmap", "--add", path, ""], ["info", path], ["check", path],
            ["extents", path, "g2G"], ["bitmap", "--merge", "g2G", path, "g64k"], ["snapshot", "-c", new string('s', 255), path],
            ["snapshot", "-c", new string('s', 300), path],
            ["snapshot", "-l", path], ["chain", "snapshot", path, over], ["chain", "check", over],
            ["chain", "measure", over, "--commit", path], ["chain", "measure", over, "--flatten"],
            ["chain", "flatten", over, folder.File("flat")], ["backup", "full", over, folder.File("saved"), "--checkpoint", "c"],
            ["backup", "full", "-O", "raw", over, folder.File("raw")],
            ["backup", "incremental", over, folder.File("second"), "--since", "c"], ["backup", "verify", folder.File("second")],
            ["rebase", "-u", "-F", "qcow2", "-b", path, over],
            ["bitmap", "--remove-all", path], ["check", path], ["check", over],
        })
        {
            await run.ExpectAsync(command);
        }

        foreach (string file in Directory.GetFiles(folder.Path).Where(file => file != path))
        {
            File.Delete(file);
        }
    }

    /// <summary>Runs commands, and keeps what is wrong.</summary>
    private sealed class Run
    {
        private readonly List<string> _wrong = [];

        public List<string> Lines { get; } = [];

        public async Task ExpectAsync(params string[] command)
        {
            string line = string.Join(
                ' ',
                command.Select(
                    static word => word.Length > 60 ? word[..20] + "…" : Path.IsPathRooted(word) ? Path.GetFileName(word) : word));
            int thread = Environment.CurrentManagedThreadId;
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                ProcessResult result = await Support.Cli.RunAsync(command).WaitAsync(Patience.Limit, Token);
                // What workers do is bounded elsewhere; files complete at once, so that all else stays on the thread.
                long allocated = thread == Environment.CurrentManagedThreadId ? GC.GetAllocatedBytesForCurrentThread() - before : 0;
                string[] errors = [
                    .. result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(static text =>
                        !text.StartsWith("qcow2bitmaps: warning: ", StringComparison.Ordinal)
                            && !Array.Exists(s_qemuLines, text.StartsWith))];
                bool isCheck = command[0] is "check" || (command[0] is "chain" or "backup" && command[1] is "check" or "verify");
                bool isRight = result.ExitCode is >= 0 and <= 1
                    || (result.ExitCode is 2 or 3
                        && (isCheck || command[0] == "compare" || (command[0] == "backup" && command[1] == "incremental")))
                    || (result.ExitCode == 63 && command[0] == "check");
                if (!isRight
                    || errors.Length > 1
                    || (result.ExitCode == 1 && errors.Length == 0 && command[0] != "compare")
                    || allocated > MaxAllocatedBytes
                    || result.Error.Contains("   at ", StringComparison.Ordinal))
                {
                    _wrong.Add($"{line}: {result.ExitCode}, {allocated >> 20} MiB: {result.Error}");
                }

                Lines.Add($"{result.ExitCode} {line}");
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                _wrong.Add($"{line}: {e.GetType().Name}: {e.Message} {e.StackTrace?.Split('\n')[0]}");
            }
        }

        public void End() => Assert.True(_wrong.Count == 0, $"{_wrong.Count} of {Lines.Count}\n{string.Join("\n", _wrong)}");
    }
}
