using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// Each command, with each read, write, flush, change of a length and of a name failing once: it has not happened and says so, or it has
/// happened, exit code 0, with a warning of what is left behind.
/// </summary>
public sealed class HappenedOrNotTests
{
    private static readonly string[] s_inDoubt = ["as before or as after", "is whole and can be restored", "is interrupted"];

    private static readonly Dictionary<string, FailedCommand> s_commands = new FailedCommand[]
    {
        new("grow", static file => ["resize", file("a"), "80M"], static file => SizeIsAsync(file("a"), 80)),
        new("shrink", static file => ["resize", "--shrink", file("a"), "20M"], static file => SizeIsAsync(file("a"), 20)),
        new("shrink with a data file", static file => ["resize", "--shrink", file("d"), "20M"], static file => SizeIsAsync(file("d"), 20)),
        new(
            "snapshot", static file => ["snapshot", "-c", "new", file("a")],
            static file => LooksAsync(file("a"), static image => image.Snapshots.Any(static s => s.Name == "new"))),
        new(
            "delete a snapshot", static file => ["snapshot", "-d", "old", file("a")],
            static file => LooksAsync(file("a"), static image => image.Snapshots.Count == 0)),
        new("apply a snapshot", static file => ["snapshot", "-a", "old", file("s")], static file => SizeIsAsync(file("s"), 32)),
        new("add a bitmap", static file => ["bitmap", "--add", file("a"), "new"], static file => HasBitmapAsync(file("a"), "new")),
        new(
            "remove a bitmap", static file => ["bitmap", "--remove", file("a"), "b"],
            static async file => !await HasBitmapAsync(file("a"), "b")),
        new("clear a bitmap", static file => ["bitmap", "--clear", file("a"), "b"], static file => IsCleanAsync(file("a"), "b")),
        new(
            "rebase -u", static file => ["rebase", "-u", "-F", "qcow2", "-b", "other.qcow2", file("top")],
            static file => LooksAsync(file("top"), static image => image.BackingFile == "other.qcow2")),
        new(
            "rebase", static file => ["rebase", "-b", "", file("top")],
            static file => LooksAsync(file("top"), static image => image.BackingFile is null)),
        new(
            "chain pull", static file => ["chain", "pull", file("top"), "--base", file("base")],
            static file => LooksAsync(file("top"), static image => image.BackingFile == "base.qcow2")),
        new(
            "chain commit below", static file => ["chain", "commit", "--active", file("top"), file("mid"), file("base")],
            static file => LooksAsync(file("top"), static image => image.BackingFile == "base.qcow2")),
        new("chain commit", static file => ["chain", "commit", file("top"), file("base")], static file => ReadsAsync(file("base"), 3))
        {
            RepeatsSafely = true,
        },
        new("commit", static file => ["commit", file("top")], static file => ReadsAsync(file("mid"), 3)) { RepeatsSafely = true },
        new(
            "chain snapshot", static file => ["chain", "snapshot", file("top"), file("over")],
            static file => Task.FromResult(Path.Exists(file("over")))),
        new(
            "chain delete", static file => ["chain", "delete", file("top"), "b"],
            static async file =>
                !await HasBitmapAsync(file("top"), "b")
                    && !await HasBitmapAsync(file("mid"), "b")
                    && !await HasBitmapAsync(file("base"), "b")),
        new(
            "chain flatten", static file => ["chain", "flatten", file("top"), file("flat")],
            static file => Task.FromResult(Path.Exists(file("flat")))),
        new(
            "convert", static file => ["convert", "-O", "qcow2", file("top"), file("flat")],
            static file => Task.FromResult(Path.Exists(file("flat")))),
        new(
            "convert to raw", static file => ["convert", "-O", "raw", file("top"), file("flat")],
            static file => Task.FromResult(Path.Exists(file("flat")))),
        new(
            "create raw", static file => ["create", "-f", "raw", file("new"), "1G"],
            static file => Task.FromResult(Path.Exists(file("new")))),
        new(
            "create with a data file", static file => ["create", "-f", "qcow2", "-o", $"data_file={file("new")}.data", file("new"), "64M"],
            static file => Task.FromResult(Path.Exists(file("new")))),
        new(
            "create", static file => ["create", "-f", "qcow2", file("new"), "1G"],
            static file => Task.FromResult(Path.Exists(file("new")))),
        new(
            "backup", static file => ["backup", "full", file("top"), file("saved")],
            static file => Task.FromResult(Path.Exists(file("saved") + ".backup.json"))),
        new(
            "backup with a checkpoint", static file => ["backup", "full", file("top"), file("saved"), "--checkpoint", "c"],
            static file => HasBitmapAsync(file("top"), "c")),
        new(
            "backup restore", static file => ["backup", "restore", file("first"), file("restored")],
            static file => Task.FromResult(Path.Exists(file("restored")))),
        new(
            "chain rebase", static file => ["chain", "rebase", "-b", "base.qcow2", "-F", "qcow2", file("top")],
            static file => LooksAsync(file("top"), static image => image.BackingFile == "base.qcow2")),
        new(
            "chain populate", static file => ["chain", "populate", file("top"), "lost", "--since", "b"],
            static file => HasBitmapAsync(file("top"), "lost")),
        new(
            "backup that clears", static file => ["backup", "incremental", file("disk"), file("second"), "--since", "k"],
            static file => IsCleanAsync(file("disk"), "k")),
    }.ToDictionary(static command => command.Name, StringComparer.Ordinal);

    public static TheoryData<string> Commands => [.. s_commands.Keys];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Commands))]
    public async Task EachFailureIsOneOrTheOther(string name)
    {
        Qemu.Require();
        FailedCommand command = s_commands[name];
        using var folder = TempFolder.InMemory();
        using var start = TempFolder.InMemory();
        await BuildAsync(folder);
        Copy(folder, start);
        string Name(string file) => folder.File(file + ".qcow2");
        var wrong = new List<string>();
        int refused = 0;
        for (int step = 1; ; step++)
        {
            // In the same place: backups know their disks by it.
            Array.ForEach(Directory.GetFiles(folder.Path), File.Delete);
            Copy(start, folder);
            ProcessResult result;
            string? failed;
            using (var trace = new FailingTrace(step))
            {
                result = await Support.Cli.RunAsync(isTerminal: false, command.Arguments(Name));
                failed = trace.Failed;
            }

            bool hasHappened = await command.HasHappened(Name);
            string context = $"{name}: {step}, {failed}: exit {result.ExitCode}, happened {hasHappened}: {result.Error}";
            bool isTold = result.ExitCode == 0
                || !hasHappened
                || command.RepeatsSafely
                || s_inDoubt.Any(words => result.Error.Contains(words, StringComparison.Ordinal));
            bool isHint = failed is null || failed.StartsWith("zero", StringComparison.Ordinal);
            if (!isTold
                || (result.ExitCode == 0 && !hasHappened)
                || (result.ExitCode == 0 && !isHint && !result.Error.Contains("warning", StringComparison.Ordinal))
                || result.ExitCode > 1)
            {
                wrong.Add(context);
            }

            refused += result.ExitCode == 0 ? 0 : 1;
            if (failed is null)
            {
                Assert.True(hasHappened, context);
                break;
            }
        }

        Assert.True(wrong.Count == 0, string.Join("\n", wrong));
        Assert.InRange(refused, 1, 1000);
    }

    /// <summary>QEMU's iotest: the entry lies in no image's way, but the file cannot be cut by what the counts say.</summary>
    [Fact]
    public async Task ARefcountTableEntryBehindTheFileDoesNotUndoAShrink()
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = folder.File("a.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", path, "64M");
        byte[] bytes = await File.ReadAllBytesAsync(path, Token);
        new byte[] { 0, 0xff, 0xff, 0xff, 0, 0, 0, 0 }.CopyTo(bytes, 0x10008);
        await File.WriteAllBytesAsync(path, bytes, Token);

        ProcessResult result = await Support.Cli.RunAsync("resize", "--shrink", path, "32M");

        Assert.Equal((0, "Image resized.\n"), (result.ExitCode, result.Output));
        Assert.Contains("warning: ", result.Error, StringComparison.Ordinal);
        Assert.Contains("is changed, but its file is not cut to what is in use", result.Error, StringComparison.Ordinal);
        Assert.True(await SizeIsAsync(path, 32));
    }

    private static void Copy(TempFolder from, TempFolder to)
    {
        foreach (string file in Directory.GetFiles(from.Path))
        {
            File.Copy(file, to.File(Path.GetFileName(file)));
        }
    }

    /// <summary>
    /// An image with a bitmap and a snapshot, one with a data file, one whose snapshot has another size, and a
    /// chain of three with a bitmap and a backup.
    /// </summary>
    private static async Task BuildAsync(TempFolder folder)
    {
        string File(string name) => folder.File(name + ".qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", File("a"), "64M");
        await Qemu.ImgOkAsync("bitmap", "--add", File("a"), "b");
        await Qemu.IoOkAsync(File("a"), "write -P 1 0 1M", "write -P 2 60M 1M");
        await Qemu.ImgOkAsync("snapshot", "-c", "old", File("a"));
        await Qemu.IoOkAsync(File("a"), "write -P 3 0 128k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", $"data_file={folder.File("d.data")}", File("d"), "64M");
        await Qemu.IoOkAsync(File("d"), "write -P 1 0 1M", "write -P 2 60M 1M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", File("s"), "32M");
        await Qemu.ImgOkAsync("snapshot", "-c", "old", File("s"));
        await Qemu.ImgOkAsync("resize", "-q", File("s"), "64M");
        await Qemu.IoOkAsync(File("s"), "write -P 3 0 128k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", File("other"), "64M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", File("base"), "64M");
        await Qemu.IoOkAsync(File("base"), "write -P 1 0 64k");
        await Qemu.ImgOkAsync("bitmap", "--add", File("base"), "b");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", File("mid"));
        await Qemu.ImgOkAsync("bitmap", "--add", File("mid"), "b");
        await Qemu.IoOkAsync(File("mid"), "write -P 2 64k 64k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", File("top"));
        await Qemu.ImgOkAsync("bitmap", "--add", File("top"), "b");
        await Qemu.IoOkAsync(File("top"), "write -P 3 128k 64k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", File("disk"), "64M");
        await Support.Cli.OkAsync("backup", "full", File("disk"), File("first"), "--checkpoint", "k");
        await Qemu.IoOkAsync(File("disk"), "write -P 4 0 64k");
    }

    private static Task<bool> SizeIsAsync(string path, int mebibytes) =>
        LooksAsync(path, image => image.VirtualSizeBytes == (long)mebibytes << 20);

    private static Task<bool> HasBitmapAsync(string path, string name) => LooksAsync(path, image => image.Bitmaps.TryGet(name, out _));

    private static async Task<bool> IsCleanAsync(string path, string name)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        return await image.Bitmaps.CountAsync(name, Token) == default;
    }

    private static async Task<bool> LooksAsync(string path, Func<Qcow2Image, bool> look)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        return look(image);
    }

    /// <summary>Whether the disk has a byte where the top image of the chain wrote it.</summary>
    private static async Task<bool> ReadsAsync(string path, byte value)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(path, cancellationToken: Token);
        var bytes = new byte[1];
        await chain.ReadAsync(128 << 10, bytes, Token);
        return bytes[0] == value;
    }

    /// <summary>A command, and how to see whether it has happened.</summary>
    private sealed record FailedCommand(
        string Name, Func<Func<string, string>, string[]> Arguments, Func<Func<string, string>, Task<bool>> HasHappened)
    {
        /// <summary>
        /// Whether it ends without a switch: when it fails it may have done all, changes nothing that a guest sees, and is run again.
        /// </summary>
        public bool RepeatsSafely { get; init; }
    }
}
