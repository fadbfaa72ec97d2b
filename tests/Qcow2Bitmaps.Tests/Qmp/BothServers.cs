using System.Text.Json;
using System.Text.Json.Nodes;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Qmp;

/// <summary>QEMU's storage daemon and our server with the same images, asked the same.</summary>
internal sealed class BothServers : IAsyncDisposable
{
    private static readonly string[] s_told = ["node-name", "drv", "ro", "backing_file_depth", "dirty-bitmaps"];

    private readonly string _ownFolder;
    private readonly string _qemuFolder;
    private readonly OwnServer _own;
    private readonly QemuDaemon _qemu;
    private readonly (string Node, string Path, bool IsReadOnly)[] _images;
    private readonly HashSet<string> _exported = new(StringComparer.Ordinal);

    private BothServers(
        string ownFolder, string qemuFolder, OwnServer own, QemuDaemon qemu, (string Node, string Path, bool IsReadOnly)[] images)
    {
        _ownFolder = ownFolder;
        _qemuFolder = qemuFolder;
        _own = own;
        _qemu = qemu;
        _images = images;
    }

    /// <summary>Copies the images of a folder twice and opens each copy.</summary>
    public static async Task<BothServers> StartAsync(TempFolder folder, params (string Node, string Name, bool IsReadOnly)[] images)
    {
        string own = Directory.CreateDirectory(folder.File("own")).FullName;
        string qemu = Directory.CreateDirectory(folder.File("qemu")).FullName;
        foreach (string file in Directory.EnumerateFiles(folder.Path))
        {
            File.Copy(file, Path.Combine(own, Path.GetFileName(file)));
            File.Copy(file, Path.Combine(qemu, Path.GetFileName(file)));
        }

        QemuDaemon daemon = QemuDaemon.Start(images.Select(image => (image.Node, Path.Combine(qemu, image.Name), image.IsReadOnly)));
        await daemon.Peer.GreetAsync();
        OwnServer server = await OwnServer.StartAsync(
            [.. images.Select(image => (image.Node, Path.Combine(own, image.Name), image.IsReadOnly))]);
        return new BothServers(own, qemu, server, daemon, images);
    }

    /// <summary>Asks both, and expects the same reply. FOLDER in the command becomes the folder of each.</summary>
    /// <param name="command">The command.</param>
    /// <param name="comparesReason">Whether a refusal is to have the same words: of two faults either may be named.</param>
    /// <returns>The reply.</returns>
    public async Task<JsonElement> AskAsync(string command, bool comparesReason = true)
    {
        JsonElement expected = await _qemu.Peer.AskAsync(command.Replace("FOLDER", _qemuFolder, StringComparison.Ordinal));
        JsonElement actual = await _own.Peer.AskAsync(command.Replace("FOLDER", _ownFolder, StringComparison.Ordinal));
        string qemu = Sorted(expected).Replace(_qemuFolder, "", StringComparison.Ordinal);
        string own = Sorted(actual).Replace(_ownFolder, "", StringComparison.Ordinal);
        bool isSame = qemu == own || (!comparesReason && expected.TryGetProperty("error", out _) && actual.TryGetProperty("error", out _));
        Assert.True(isSame, $"{command}\nQEMU: {qemu}\nwe: {own}");
        return actual;
    }

    /// <summary>Starts a job on both and waits until both have ended.</summary>
    public async Task RunAsync(string command, string jobId)
    {
        JsonElement reply = await AskAsync(command);
        if (reply.TryGetProperty("return", out _))
        {
            await EndedAsync(jobId);
        }
    }

    /// <summary>Waits until a job is gone from both, and expects the same events of it.</summary>
    public async Task EndedAsync(string jobId)
    {
        string[] expected = await ReadEventsAsync(_qemu.Peer, jobId);
        string[] actual = await ReadEventsAsync(_own.Peer, jobId);
        Assert.Equal(expected, actual);
    }

    /// <summary>Waits until a job is gone from both.</summary>
    public async Task GoneAsync(string jobId)
    {
        await ReadEventsAsync(_qemu.Peer, jobId);
        await ReadEventsAsync(_own.Peer, jobId);
    }

    /// <summary>Asks both until they reply the same: a job that was paused may still end what it had begun.</summary>
    public async Task EventuallySameAsync(string command)
    {
        await Patience.UntilAsync(
            async () => Sorted(await _qemu.Peer.OkAsync(command)) == Sorted(await _own.Peer.OkAsync(command)),
            $"both reply the same to {command}");
        await AskAsync(command);
    }

    /// <summary>
    /// Waits until a job has failed on both, and expects the same events of it but for how far it was and for the error's text.
    /// </summary>
    public async Task FailedAsync(string jobId)
    {
        string[] expected = Named(await ReadEventsAsync(_qemu.Peer, jobId));
        string[] actual = Named(await ReadEventsAsync(_own.Peer, jobId));
        Assert.Contains(expected, static told => told.StartsWith("BLOCK_JOB_ERROR", StringComparison.Ordinal));
        Assert.Equal(expected, actual);

        static string[] Named(string[] told) => [.. told.Select(
            static one => one.StartsWith("BLOCK_JOB_COMPLETED", StringComparison.Ordinal)
            ? $"BLOCK_JOB_COMPLETED {(one.Contains("error:", StringComparison.Ordinal) ? "error" : "")}"
            : one)];
    }

    /// <summary>Waits until a job has a status on both.</summary>
    public async Task StatusAsync(string jobId, string status)
    {
        await _qemu.Peer.EventAsync(e => IsOf(e, jobId) && StatusOf(e) == status);
        await _own.Peer.EventAsync(e => IsOf(e, jobId) && StatusOf(e) == status);
    }

    /// <summary>Writes to the disks of both, as a guest would.</summary>
    public async Task WriteAsync(string node, byte value, long offset, int length)
    {
        if (_exported.Count == 0)
        {
            await _qemu.Peer.OkAsync(
                $$$"""{"execute":"nbd-server-start","arguments":{"addr":{"type":"unix","data":{"path":"{{{_qemuFolder}}}/nbd"} } }}""");
        }

        // Before a job starts: it lets nobody come later who writes.
        if (_exported.Add(node))
        {
            await _qemu.Peer.OkAsync(
                $$$"""{"execute":"block-export-add","arguments":{"type":"nbd","id":"{{{node}}}","node-name":"{{{node}}}","""
                + $$$""" "writable":true}}""");
        }

        ProcessResult result = await Qemu.RunAsync(
            "qemu-io", null, "-f", "raw", "-c", $"write -P {value} {offset} {length}", $"nbd+unix:///{node}?socket={_qemuFolder}/nbd");
        Assert.True(result.ExitCode == 0 && result.Output.Contains("wrote", StringComparison.Ordinal), result.Output + result.Error);
        byte[] bytes = new byte[length];
        bytes.AsSpan().Fill(value);
        await _own.Disk(node).WriteAsync(offset, bytes);
    }

    /// <summary>Expects the same nodes, bitmaps and bits.</summary>
    public async Task AssertSameAsync()
    {
        const string Query = """{"execute":"query-named-block-nodes"}""";
        JsonElement expected = await _qemu.Peer.OkAsync(Query);
        JsonElement actual = await _own.Peer.OkAsync(Query);
        foreach ((string node, _, _) in _images)
        {
            string own = Describe(actual, node);
            string qemu = Describe(expected, node);
            Assert.True(qemu == own, $"QEMU: {qemu}\nwe: {own}");
            foreach (JsonNode? bitmap in JsonNode.Parse(own)!["dirty-bitmaps"] as JsonArray ?? [])
            {
                if (bitmap!["name"]?.GetValue<string>() is { } name)
                {
                    await AskAsync(
                        $$$"""{"execute":"x-debug-block-dirty-bitmap-sha256","arguments":{"node":"{{{node}}}","name":"{{{name}}}"}}""");
                }
            }
        }
    }

    /// <summary>
    /// Whether bitmaps are to be in the same order in the images too. QEMU deletes one from its image at once, and appends it
    /// again where the transaction is taken back.
    /// </summary>
    public bool ComparesOrder { get; set; } = true;

    /// <summary>
    /// Lets both quit, and expects images that QEMU finds right and the same, bitmaps included; those called .img are raw.
    /// </summary>
    public async Task QuitAsync(params string[] backups)
    {
        await _qemu.QuitAsync();
        await _own.QuitAsync();
        foreach (string name in _images.Select(static image => image.Path).Concat(backups))
        {
            string expected = Path.Combine(_qemuFolder, name);
            string actual = Path.Combine(_ownFolder, name);
            await Qemu.ImgOkAsync("compare", expected, actual);
            if (name.EndsWith(".img", StringComparison.Ordinal))
            {
                continue;
            }

            await Qemu.ImgOkAsync("check", actual);
            IReadOnlyList<StoredBitmap> bitmaps = await new QemuNode(actual).ListAsync();
            Assert.Equal(InOrder(await new QemuNode(expected).ListAsync()), InOrder(bitmaps));
            foreach (StoredBitmap bitmap in bitmaps.Where(static bitmap => !bitmap.Flags.HasFlag(BitmapFlags.InUse)))
            {
                Assert.Equal(
                    await QemuBitmaps.ReadExtentsAsync(expected, bitmap.Name), await QemuBitmaps.ReadExtentsAsync(actual, bitmap.Name));
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        _qemu.Dispose();
        await _own.DisposeAsync();
    }

    private StoredBitmap[] InOrder(IReadOnlyList<StoredBitmap> bitmaps) =>
        ComparesOrder ? [.. bitmaps] : [.. bitmaps.OrderBy(static bitmap => bitmap.Name, StringComparer.Ordinal)];

    private static async Task<string[]> ReadEventsAsync(QmpPeer peer, string jobId)
    {
        await peer.EventAsync(e => IsOf(e, jobId) && StatusOf(e) == "null");
        var told = new List<string>();
        foreach (JsonElement e in peer.Take(e => IsOf(e, jobId)))
        {
            // QEMU pauses a job whenever it drains its node.
            string text = e.GetProperty("event").GetString() + " " + (StatusOf(e) ?? Sorted(e.GetProperty("data")));
            if (StatusOf(e) != "paused" && !(StatusOf(e) == "running" && told.Contains(text)))
            {
                told.Add(text);
            }
        }

        return [.. told];
    }

    private static bool IsOf(JsonElement e, string jobId)
    {
        JsonElement data = e.GetProperty("data");
        return (data.TryGetProperty("id", out JsonElement id) || data.TryGetProperty("device", out id)) && id.GetString() == jobId;
    }

    private static string? StatusOf(JsonElement e) =>
        e.GetProperty("data").TryGetProperty("status", out JsonElement status) ? status.GetString() : null;

    /// <summary>JSON with the members of objects in order.</summary>
    private static string Sorted(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object =>
            "{"
            + string.Join(
                ',', value.EnumerateObject().Select(static member => $"{member.Name}:{Sorted(member.Value)}").Order(StringComparer.Ordinal))
            + "}",
        JsonValueKind.Array => "[" + string.Join(',', value.EnumerateArray().Select(Sorted)) + "]",
        _ => value.ToString(),
    };

    private static string Describe(JsonElement nodes, string name)
    {
        JsonNode node = JsonNode.Parse(
            nodes.EnumerateArray().Single(node => node.GetProperty("node-name").GetString() == name).GetRawText())!;
        var told = new JsonObject();
        foreach (string member in s_told)
        {
            told[member] = node[member]?.DeepClone();
        }

        foreach (string member in new[] { "virtual-size", "cluster-size", "format" })
        {
            told[member] = node["image"]![member]!.DeepClone();
        }

        if (told["dirty-bitmaps"] is JsonArray bitmaps)
        {
            // Of those without a name that record nothing some are what QEMU's job keeps its own accounts in.
            IEnumerable<JsonNode> sorted = bitmaps.Where(
                static bitmap => bitmap!["name"] is not null || bitmap["recording"]!.GetValue<bool>()).Select(static bitmap =>
                (JsonNode)new JsonObject(
                bitmap!.AsObject()
                    .OrderBy(static member => member.Key, StringComparer.Ordinal)
                    .Select(static member => KeyValuePair.Create(member.Key, member.Value?.DeepClone()))));
            told["dirty-bitmaps"] = new JsonArray([.. sorted.OrderBy(static bitmap => bitmap.ToJsonString(), StringComparer.Ordinal)]);
        }

        return told.ToJsonString();
    }
}
