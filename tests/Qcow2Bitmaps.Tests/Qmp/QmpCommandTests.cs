using System.Diagnostics;
using System.Net.Sockets;
using System.Text.Json;
using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Qmp;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Qmp;

/// <summary>The tool's command: its ends, its socket, its errors.</summary>
public sealed class QmpCommandTests
{
    private const string AddPersistent = """{"execute":"block-dirty-bitmap-add","arguments":{"node":"disk","name":"kept","""
        + """ "persistent":true}}""";

    /// <summary>
    /// A signal stores what is in memory as 'quit' does, and so does the end of the input, which waits for jobs
    /// first. A kill leaves bitmaps inconsistent.
    /// </summary>
    [Theory]
    [InlineData("TERM", 0, false)]
    [InlineData("INT", 0, false)]
    [InlineData("KILL", 128 + 9, true)]
    [InlineData(null, 0, false)]
    public async Task EndsStoreBitmapsAndKillsDoNot(string? signal, int exitCode, bool isInUse)
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        string image = folder.File("disk.qcow2");
        await Qemu.ImgOkAsync("create", "-f", "qcow2", image, "4M");
        await Qemu.ImgOkAsync("bitmap", "--add", image, "old");
        using Process process = Tool.StartInterruptible(folder.Path, "qmp", "--image", "disk=disk.qcow2");
        using var peer = new QmpPeer(process.StandardInput.BaseStream, process.StandardOutput.BaseStream);
        await peer.GreetAsync();
        await peer.OkAsync(AddPersistent);
        if (signal is null)
        {
            await peer.SendAsync("""{"execute":"drive-backup","arguments":{"device":"disk","target":"copy.qcow2","sync":"full"}}""");
            await peer.CloseAsync();
        }
        else
        {
            await Qemu.RunAsync("kill", null, "-" + signal, process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture));
        }

        await process.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(
            Patience.Limit, TestContext.Current.CancellationToken);
        Assert.Equal(exitCode, process.ExitCode);
        IReadOnlyList<StoredBitmap> bitmaps = await new QemuNode(image).ListAsync();
        Assert.Equal(isInUse ? ["old"] : ["old", "kept"], bitmaps.Select(static bitmap => bitmap.Name));
        Assert.All(bitmaps, bitmap => Assert.Equal(isInUse, bitmap.Flags.HasFlag(BitmapFlags.InUse)));
        if (signal is null)
        {
            await Qemu.ImgOkAsync("compare", image, folder.File("copy.qcow2"));
        }
    }

    [Fact]
    public async Task ASocketServesOneClientAfterTheOther()
    {
        using var folder = TempFolder.InMemory();
        await MakeImageAsync(folder);
        string path = folder.File("socket");
        await using QmpServer server = await QmpServer.OpenAsync(
            [new QmpImage("disk", folder.File("disk.qcow2"))], static _ => { }, cancellationToken: TestContext.Current.CancellationToken);
        Task listening = server.ListenAsync(path, TestContext.Current.CancellationToken);
        using (Socket first = await ConnectAsync(path))
        {
            using var stream = new NetworkStream(first);
            using var peer = new QmpPeer(stream, stream);
            await peer.GreetAsync();
            await peer.OkAsync(AddPersistent);
            await peer.SendAsync("{\"execute\":\"quit");
        }

        if (!OperatingSystem.IsWindows())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        }
        using (Socket second = await ConnectAsync(path))
        {
            using var stream = new NetworkStream(second);
            using var peer = new QmpPeer(stream, stream);
            await peer.GreetAsync();
            JsonElement node = Assert.Single((await peer.OkAsync("""{"execute":"query-named-block-nodes"}""")).EnumerateArray());
            Assert.Equal("kept", Assert.Single(node.GetProperty("dirty-bitmaps").EnumerateArray()).GetProperty("name").GetString());
            await Assert.ThrowsAsync<IOException>(() => server.ListenAsync(path, TestContext.Current.CancellationToken));
            await peer.OkAsync("""{"execute":"quit"}""");
        }

        await listening.WaitAsync(Patience.Limit, TestContext.Current.CancellationToken);
        Assert.DoesNotContain(path, Directory.EnumerateFileSystemEntries(folder.Path));
    }

    /// <summary>
    /// A server that was killed leaves its socket behind. QEMU takes any path over, even a file's or that of a server that runs.
    /// </summary>
    [Fact]
    public async Task ASocketWhereNobodyListensIsTakenOverAndNothingElse()
    {
        using var folder = TempFolder.InMemory();
        await MakeImageAsync(folder);
        string path = folder.File("socket");
        using (var left = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            left.Bind(new UnixDomainSocketEndPoint(folder.File("made")));
            left.Listen();
            // The framework removes what it has bound, at the path that it knows.
            File.Move(folder.File("made"), path);
        }

        string file = folder.File("file");
        await File.WriteAllTextAsync(file, "kept", TestContext.Current.CancellationToken);
        File.CreateSymbolicLink(folder.File("link"), file);
        await using QmpServer server = await QmpServer.OpenAsync(
            [new QmpImage("disk", folder.File("disk.qcow2"))], static _ => { }, cancellationToken: TestContext.Current.CancellationToken);
        foreach (string other in (string[])[file, folder.File("link"), folder.Path])
        {
            await Assert.ThrowsAsync<IOException>(() => server.ListenAsync(other, TestContext.Current.CancellationToken));
        }

        Assert.Equal("kept", await File.ReadAllTextAsync(folder.File("link"), TestContext.Current.CancellationToken));
        Task listening = server.ListenAsync(path, TestContext.Current.CancellationToken);
        using (Socket client = await ConnectAsync(path))
        {
            using var stream = new NetworkStream(client);
            using var peer = new QmpPeer(stream, stream);
            await peer.GreetAsync();
            await Assert.ThrowsAsync<IOException>(() => server.ListenAsync(path, TestContext.Current.CancellationToken));
            await peer.OkAsync("""{"execute":"quit"}""");
        }

        await listening.WaitAsync(Patience.Limit, TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task WhatIsWrongWithTheCommandLineIsSaid()
    {
        using var folder = TempFolder.InMemory();
        await MakeImageAsync(folder);
        string image = $"d={folder.File("disk.qcow2")}";
        Assert.Equal("qcow2bitmaps: At least one image is needed\n", (await Support.Cli.RunAsync("qmp")).Error);
        Assert.Equal(
            "qcow2bitmaps: Duplicate nodes with node-name='d'\n",
            (await Support.Cli.RunAsync("qmp", "--image", image, "--image", image)).Error);
        string nowhere = folder.File("none/socket");
        Assert.Equal(
            $"qcow2bitmaps: '{nowhere}': no socket can be made: its folder does not exist\n",
            (await Support.Cli.RunAsync("qmp", "--image", image, "--socket", nowhere)).Error);
        string tooLong = folder.File(new string('x', 120));
        Assert.Equal(
            $"qcow2bitmaps: '{tooLong}': no socket can be made: a socket's path has 1 to 108 bytes\n",
            (await Support.Cli.RunAsync("qmp", "--image", image, "--socket", tooLong)).Error);
    }

    /// <summary>
    /// A backup that QEMU would let destroy a file before it refuses leaves the file alone, and the disk itself is no target.
    /// </summary>
    [Theory]
    [InlineData("old.qcow2", "\"sync\":\"incremental\",\"bitmap\":\"missing\"", "Bitmap 'missing' could not be found")]
    [InlineData("old.qcow2", "\"sync\":\"full\",\"bitmap-mode\":\"always\"", "Cannot specify bitmap sync mode without a bitmap")]
    [InlineData("disk.qcow2", "\"sync\":\"full\"", "lock")]
    [InlineData("disk.qcow2", "\"sync\":\"full\",\"mode\":\"existing\"", "lock")]
    public async Task ARefusedBackupLeavesFilesAsTheyWere(string target, string arguments, string refused)
    {
        using var folder = TempFolder.InMemory();
        await MakeImageAsync(folder);
        folder.Write("old.qcow2", [1, 2, 3]);
        byte[] before;
        await using (OwnServer own = await OwnServer.StartAsync(("disk", folder.File("disk.qcow2"), false)))
        {
            before = await File.ReadAllBytesAsync(folder.File(target), TestContext.Current.CancellationToken);
            (_, string description) = await own.Peer.RefusedAsync(
                $$$"""{"execute":"drive-backup","arguments":{"device":"disk","target":"{{{folder.File(target)}}}",{{{arguments}}} }}""");
            Assert.Contains(refused, description, StringComparison.Ordinal);
            Assert.Equal(before, await File.ReadAllBytesAsync(folder.File(target), TestContext.Current.CancellationToken));
            Assert.Empty((await own.Peer.OkAsync("""{"execute":"query-jobs"}""")).EnumerateArray());
            Assert.Empty(own.Peer.Events);
        }
    }

    /// <summary>Each action of a transaction could be refused for what is open already, before a file is overwritten.</summary>
    [Theory]
    [InlineData("other", "open for reading only")]
    [InlineData("small", "different sizes")]
    public async Task ARefusedTransactionLeavesFilesAsTheyWere(string target, string refused)
    {
        using var folder = TempFolder.InMemory();
        await MakeImageAsync(folder);
        string other = folder.File("other.qcow2");
        File.Copy(folder.File("disk.qcow2"), other);
        string small = folder.File("small.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", small, "1M");
        string old = folder.File("old.qcow2");
        folder.Write("old.qcow2", [1, 2, 3]);
        await using OwnServer own = await OwnServer.StartAsync(
            ("disk", folder.File("disk.qcow2"), false), ("other", other, true), ("small", small, false));
        (_, string description) = await own.Peer.RefusedAsync(
            $$$"""
            {"execute":"transaction","arguments":{"actions":[
            {"type":"drive-backup","data":{"device":"disk","target":"{{{old}}}","sync":"full","job-id":"a"}},
            {"type":"blockdev-backup","data":{"device":"disk","target":"{{{target}}}","sync":"full","job-id":"b"}}]} }
            """.ReplaceLineEndings(""));
        Assert.Contains(refused, description, StringComparison.Ordinal);
        Assert.Equal([1, 2, 3], await File.ReadAllBytesAsync(old, TestContext.Current.CancellationToken));
        Assert.Empty((await own.Peer.OkAsync("""{"execute":"query-jobs"}""")).EnumerateArray());
    }

    [Fact]
    public async Task NothingIsMergedOnAHugeDisk()
    {
        using var folder = TempFolder.InMemory();
        string huge = folder.File("huge.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", huge, "32P");
        await using OwnServer own = await OwnServer.StartAsync(("disk", huge, false));
        await own.Peer.OkAsync(
            """{"execute":"block-dirty-bitmap-add","arguments":{"node":"disk","name":"b","granularity":1073741824}}""");
        await own.Peer.OkAsync("""{"execute":"block-dirty-bitmap-merge","arguments":{"node":"disk","target":"b","bitmaps":[]}}""");
        await own.QuitAsync();
    }

    /// <summary>A job whose end cannot be told keeps no image open.</summary>
    [Fact]
    public async Task ImagesAreClosedThoughAJobEndsInAnError()
    {
        using var folder = TempFolder.InMemory();
        await MakeImageAsync(folder);
        string copy = folder.File("copy.qcow2");
        File.Copy(folder.File("disk.qcow2"), copy);
        var clock = new StoppedClock();
        OwnServer own = await OwnServer.StartAsync(clock, ("disk", folder.File("disk.qcow2"), false), ("copy", copy, false));
        await own.Peer.OkAsync(AddPersistent);
        await own.Peer.OkAsync("""{"execute":"blockdev-backup","arguments":{"device":"disk","target":"copy","sync":"none"}}""");
        clock.IsStopped = true;
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await own.DisposeAsync());
        foreach (string image in (string[])["disk.qcow2", "copy.qcow2"])
        {
            await using RecordingSession again = await RecordingSession.OpenAsync(
                folder.File(image), cancellationToken: TestContext.Current.CancellationToken);
            Assert.All(again.Bitmaps, static bitmap => Assert.False(bitmap.IsInconsistent));
        }
    }

    /// <summary>What we refuse and QEMU does not, and the other way round: each has its reason in the architecture's list.</summary>
    [Theory]
    [InlineData("""{"execute":"block-dirty-bitmap-merge","arguments":{"node":"disk","target":"kept","bitmaps":[]}}""", null)]
    [InlineData(
        """{"execute":"blockdev-backup","arguments":{"device":"disk","target":"disk","sync":"full","on-target-error":"stop"}}""",
        "Parameter 'on-target-error' does not support 'stop' here")]
    [InlineData(
        """{"execute":"blockdev-backup","arguments":{"device":"disk","target":"disk","sync":"full","on-source-error":"ignore"}}""",
        "Parameter 'on-source-error' does not support 'ignore' here")]
    [InlineData(
        """{"execute":"drive-backup","arguments":{"device":"disk","target":"x","sync":"none"}}""", "sync mode 'none' into a new file")]
    [InlineData(
        """{"execute":"drive-backup","arguments":{"device":"disk","target":"x","sync":"full","format":"vmdk"}}""",
        "Images of format 'vmdk' are not made here")]
    public async Task KnownDifferences(string command, string? refused)
    {
        using var folder = TempFolder.InMemory();
        await MakeImageAsync(folder);
        await using OwnServer own = await OwnServer.StartAsync(("disk", folder.File("disk.qcow2"), false));
        await own.Peer.OkAsync(AddPersistent);
        JsonElement reply = await own.Peer.AskAsync(command);
        if (refused is null)
        {
            Assert.True(reply.TryGetProperty("return", out _), reply.GetRawText());
        }
        else
        {
            Assert.Contains(refused, reply.GetProperty("error").GetProperty("desc").GetString(), StringComparison.Ordinal);
        }
    }

    /// <summary>Arguments that are well formed and mean nothing good: each is refused, and the server goes on.</summary>
    [Fact]
    public async Task HostileArgumentsAreRefused()
    {
        using var folder = TempFolder.InMemory();
        await MakeImageAsync(folder);
        await using OwnServer own = await OwnServer.StartAsync(("disk", folder.File("disk.qcow2"), false));
        string[] texts = [
            "\\u0000", "a\\u0000b", "", "/", "/dev/null", "/dev/zero", "json:{}", "nbd://localhost/x", "..", new string('x', 5000),
            "\\ud83d\\ude00\\u001b[31m",
        ];
        foreach (string text in texts)
        {
            foreach (string mode in new[] { "existing", "absolute-paths" })
            {
                await own.Peer.RefusedAsync(
                    $$"""{"execute":"drive-backup","arguments":{"device":"disk","target":"{{folder.Path}}/none/{{text}}","sync":"full","""
                    + $$""" "mode":"{{mode}}"} }""");
            }

            await own.Peer.RefusedAsync(
                $$"""{"execute":"drive-backup","arguments":{"device":"disk","target":"{{text}}","sync":"full","mode":"existing"} }""");
            await own.Peer.RefusedAsync(
                $$"""{"execute":"blockdev-backup","arguments":{"device":"disk","target":"{{text}}","sync":"full"} }""");
            await own.Peer.RefusedAsync($$"""{"execute":"block-dirty-bitmap-clear","arguments":{"node":"disk","name":"{{text}}"} }""");
            await own.Peer.RefusedAsync($$"""{"execute":"block-dirty-bitmap-add","arguments":{"node":"{{text}}","name":"x"} }""");
            await own.Peer.RefusedAsync($$"""{"execute":"{{text}}"}""");
            await own.Peer.RefusedAsync($$"""{"execute":"block-dirty-bitmap-add","arguments":{"node":"disk","name":"x","{{text}}":1} }""");
        }

        foreach (string name in new[] { "\\u0000", "a\\u0000b", "", new string('x', 5000) })
        {
            await own.Peer.RefusedAsync(
                $$"""{"execute":"block-dirty-bitmap-add","arguments":{"node":"disk","name":"{{name}}","persistent":true} }""");
        }

        string add = """{"type":"block-dirty-bitmap-add","data":{"node":"disk","name":"same"}},""";
        await own.Peer.RefusedAsync(
            $$"""{"execute":"transaction","arguments":{"actions":[{{string.Concat(Enumerable.Repeat(add, 2000))}}]} }""");
        Assert.Empty(own.Disk("disk").Bitmaps);
        Assert.Equal(["disk.qcow2"], Directory.EnumerateFileSystemEntries(folder.Path).Select(Path.GetFileName));
        await own.QuitAsync();
    }

    /// <summary>A signal ends the tool even when nobody reads what it writes.</summary>
    [Fact]
    public async Task AClientThatDoesNotReadDoesNotKeepItAlive()
    {
        using var folder = TempFolder.InMemory();
        await MakeImageAsync(folder);
        using Process process = Tool.Start(folder.Path, "qmp", "--image", "disk=disk.qcow2");
        Assert.StartsWith(
            "{\"QMP\"", await process.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);
        Task sending = SendAsync(process.StandardInput.BaseStream);
        await Patience.UntilAsync(() => WaitsForAReader(process.Id), "replies wait for the client");
        await Qemu.RunAsync("kill", null, "-TERM", process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture));
        await process.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(
            Patience.Limit, TestContext.Current.CancellationToken);
        Assert.Equal(0, process.ExitCode);
        await Assert.ThrowsAnyAsync<IOException>(() => sending);

        // What the kernel says of a thread that sleeps in a write to a full pipe.
        static bool WaitsForAReader(int processId) => Directory.EnumerateDirectories($"/proc/{processId}/task")
            .Any(static thread => File.ReadAllText(Path.Combine(thread, "wchan")).Contains("pipe_write", StringComparison.Ordinal));

        static async Task SendAsync(Stream stream)
        {
            byte[] block = System.Text.Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("]\n", 1 << 15)));
            while (true)
            {
                await stream.WriteAsync(block);
            }
        }
    }

    [Theory]
    [InlineData("Expecting NODE=FILE", "--image", "disk")]
    [InlineData("Invalid node-name: '1disk'", "--image", "1disk=x")]
    [InlineData("Duplicate nodes with node-name='a'", "--image", "a=x", "--read-only-image", "a=y")]
    [InlineData("At least one image is needed")]
    [InlineData("No such file", "--image", "a=/nowhere/x.qcow2")]
    public async Task WrongArgumentsAreRefused(string message, params string[] arguments)
    {
        ProcessResult result = await Support.Cli.RunAsync(["qmp", .. arguments]);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains(message, result.Error, StringComparison.Ordinal);
    }

    private static async Task MakeImageAsync(TempFolder folder) =>
        await Qcow2Image.CreateAsync(
            folder.File("disk.qcow2"), new Qcow2CreateOptions { SizeBytes = 4 << 20 }, TestContext.Current.CancellationToken);

    private static async Task<Socket> ConnectAsync(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), TestContext.Current.CancellationToken);
        return socket;
    }

    private sealed class StoppedClock : TimeProvider
    {
        public bool IsStopped { get; set; }

        public override DateTimeOffset GetUtcNow() => IsStopped ? throw new InvalidOperationException() : base.GetUtcNow();
    }
}
