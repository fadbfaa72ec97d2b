using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>
/// A qemu-storage-daemon that has a qcow2 image open as node <c>disk</c>, and others as the test says; it
/// is driven by QMP, and written through NBD.
/// </summary>
internal sealed class StorageDaemon : IAsyncDisposable
{
    private readonly Process _process;
    private readonly string _socket;
    private readonly string _nbd;
    private StreamReader? _reader;
    private StreamWriter? _writer;

    private StorageDaemon(Process process, string socket, string nbd)
    {
        _process = process;
        _socket = socket;
        _nbd = nbd;
    }

    /// <summary>Events that came while answers were read.</summary>
    public List<JsonNode> Events { get; } = [];

    /// <summary>Opens an image, and exports it.</summary>
    /// <param name="folder">A folder for sockets.</param>
    /// <param name="image">The image.</param>
    /// <param name="isReadOnly">Whether it is opened for reading only.</param>
    public static async Task<StorageDaemon> StartAsync(TempFolder folder, string image, bool isReadOnly = false)
    {
        string socket = folder.File("qmp.sock");
        string nbd = folder.File("nbd.sock");
        Process process = Qemu.Start(
            "qemu-storage-daemon",
            folder.Path,
            "--blockdev",
            $"driver=qcow2,node-name=disk,discard=unmap,read-only={(isReadOnly ? "on" : "off")},file.driver=file,file.filename={image}",
            "--chardev", $"socket,id=qmp,path={socket},server=on,wait=off",
            "--monitor", "chardev=qmp",
            "--nbd-server", $"addr.type=unix,addr.path={nbd}",
            "--export", $"type=nbd,id=export,node-name=disk,name=disk,writable={(isReadOnly ? "off" : "on")}");
        var daemon = new StorageDaemon(process, socket, nbd);
        await daemon.ConnectAsync();
        return daemon;
    }

    /// <summary>Runs a command and expects success.</summary>
    public async Task<JsonNode> OkAsync(string command, JsonObject? arguments = null)
    {
        JsonNode answer = await ExecuteAsync(command, arguments);
        Assert.True(answer["return"] is not null, $"{command}: {answer}");
        return answer["return"]!;
    }

    /// <summary>Runs a command.</summary>
    /// <returns>What QEMU says in refusing it; null when it succeeds.</returns>
    public async Task<string?> TryAsync(string command, JsonObject? arguments = null) =>
        (string?)(await ExecuteAsync(command, arguments))["error"]?["desc"];

    public async Task<JsonNode> ExecuteAsync(string command, JsonObject? arguments = null)
    {
        var request = new JsonObject { ["execute"] = command };
        if (arguments is not null)
        {
            request["arguments"] = arguments;
        }

        await _writer!.WriteLineAsync(request.ToJsonString());
        await _writer.FlushAsync();
        while (true)
        {
            JsonNode answer = await ReadAsync();
            if (answer["event"] is null)
            {
                return answer;
            }

            Events.Add(answer);
        }
    }

    /// <summary>Waits for an event.</summary>
    public async Task<JsonNode> WaitForAsync(string name)
    {
        while (true)
        {
            JsonNode? found = Events.Find(e => string.Equals((string?)e["event"], name, StringComparison.Ordinal));
            if (found is not null)
            {
                Events.Remove(found);
                return found;
            }

            Events.Add(await ReadAsync());
        }
    }

    /// <summary>Writes through the export, by commands of qemu-io.</summary>
    public async Task IoAsync(params string[] commands)
    {
        ProcessResult result = await Qemu.RunAsync(
            "qemu-io", null,
            ["-f", "raw", "-d", "unmap", .. commands.SelectMany(static c => new[] { "-c", c }), $"nbd+unix:///disk?socket={_nbd}"]);
        Assert.True(
            result.ExitCode == 0 && !result.Output.Contains("failed", StringComparison.Ordinal), $"qemu-io: {result.Output}{result.Error}");
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            await ExecuteAsync("quit");
            await _process.WaitForExitAsync();
        }

        _reader?.Dispose();
        _process.Dispose();
    }

    /// <summary>Kills the daemon.</summary>
    public async Task KillAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
    }

    private async Task ConnectAsync()
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await Patience.UntilAsync(
            async () =>
            {
                try
                {
                    await socket.ConnectAsync(new UnixDomainSocketEndPoint(_socket));
                    return true;
                }
                catch (SocketException) when (!_process.HasExited)
                {
                    return false;
                }
            },
            "the daemon listens");

        var stream = new NetworkStream(socket, ownsSocket: true);
        _reader = new StreamReader(stream, Encoding.UTF8);
        _writer = new StreamWriter(stream, new UTF8Encoding(false), leaveOpen: true);
        _ = await ReadAsync();
        await OkAsync("qmp_capabilities");
    }

    private async Task<JsonNode> ReadAsync() =>
        JsonNode.Parse(
            await _reader!.ReadLineAsync() ?? throw new InvalidOperationException(await _process.StandardError.ReadToEndAsync()))!;
}
