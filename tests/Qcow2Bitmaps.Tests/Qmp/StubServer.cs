using System.IO.Pipelines;
using Qcow2Bitmaps.Qmp.Protocol;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Qmp;

/// <summary>A session with commands that do nothing, to talk to.</summary>
internal sealed class StubServer : IAsyncDisposable
{
    private readonly Pipe _toServer = new();
    private readonly Pipe _fromServer = new(new PipeOptions(pauseWriterThreshold: 1 << 16, resumeWriterThreshold: 1 << 15));
    private readonly QmpOutput _output;

    public StubServer(QmpLimits? limits = null)
    {
        Events = new QmpEvents(TimeProvider.System);
        var commands = new QmpCommands();
        commands.Add("echo", static (arguments, _) =>
        {
            string text = arguments.String("text");
            uint? number = arguments.OptionalUInt32("number");
            long? speed = arguments.OptionalInteger("speed");
            arguments.Finish();
            return ValueTask.FromResult<QmpResult?>(writer =>
            {
                writer.WriteStartObject();
                writer.WriteString("text", text);
                writer.WriteNumber("number", number ?? 0);
                writer.WriteNumber("speed", speed ?? 0);
                writer.WriteEndObject();
            });
        });
        _output = new QmpOutput(_fromServer.Writer, CancellationToken.None);
        Running = RunAsync(new QmpSession(commands, Events, limits ?? QmpLimits.Default, Warnings.Add));
        Peer = new QmpPeer(_toServer.Writer.AsStream(), _fromServer.Reader.AsStream());
    }

    public QmpEvents Events { get; }

    public QmpPeer Peer { get; }

    public List<string> Warnings { get; } = [];

    /// <summary>Whether the client asked to quit; completes when the session has ended.</summary>
    public Task<bool> Running { get; }

    public async ValueTask DisposeAsync()
    {
        await _toServer.Writer.CompleteAsync();
        Peer.Dispose();
        await _fromServer.Reader.CompleteAsync();
        await Running.WaitAsync(Patience.Limit);
    }

    private async Task<bool> RunAsync(QmpSession session)
    {
        bool isQuit = await session.RunAsync(_toServer.Reader, _output, CancellationToken.None);
        await _output.DisposeAsync();
        await _fromServer.Writer.CompleteAsync();
        return isQuit;
    }
}
