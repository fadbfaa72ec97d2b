using System.IO.Pipelines;
using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Qmp;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Qmp;

/// <summary>Our server in this process, with a client that has negotiated.</summary>
internal sealed class OwnServer : IAsyncDisposable
{
    private readonly QmpServer _server;
    private readonly Pipe _toServer = new();
    private readonly Pipe _fromServer = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly Task<bool> _serving;
    private bool _isClosed;

    private OwnServer(QmpServer server, List<string> warnings)
    {
        _server = server;
        Warnings = warnings;
        Peer = new QmpPeer(_toServer.Writer.AsStream(), _fromServer.Reader.AsStream());
        _serving = ServeAsync();
    }

    public QmpPeer Peer { get; }

    public List<string> Warnings { get; }

    public static Task<OwnServer> StartAsync(params (string Node, string Path, bool IsReadOnly)[] images) =>
        StartAsync(TimeProvider.System, images);

    public static async Task<OwnServer> StartAsync(TimeProvider clock, params (string Node, string Path, bool IsReadOnly)[] images)
    {
        var warnings = new List<string>();
        QmpServer server = await QmpServer.OpenAsync(
            [.. images.Select(static image => new QmpImage(image.Node, image.Path, image.IsReadOnly))], warnings.Add, clock: clock);
        var own = new OwnServer(server, warnings);
        await own.Peer.GreetAsync();
        return own;
    }

    /// <summary>Where the guest writes.</summary>
    public RecordingSession Disk(string node) => _server.SessionOf(node);

    /// <summary>Lets it quit, and waits until the images are closed.</summary>
    public async Task QuitAsync()
    {
        await Peer.OkAsync("""{"execute":"quit"}""");
        Assert.True(await _serving.WaitAsync(Patience.Limit));
        _isClosed = true;
        await _server.DisposeAsync();
    }

    /// <summary>Lets the client go, and waits until its jobs have ended and the images are closed.</summary>
    public async Task HangUpAsync()
    {
        await Peer.CloseAsync();
        Assert.False(await _serving.WaitAsync(Patience.Limit));
        _isClosed = true;
        await _server.DisposeAsync();
    }

    public async ValueTask DisposeAsync()
    {
        Peer.Dispose();
        if (!_isClosed)
        {
            await _stop.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _serving.WaitAsync(Patience.Limit));
            await _server.DisposeAsync();
        }

        _stop.Dispose();
    }

    private async Task<bool> ServeAsync()
    {
        bool isQuit = await _server.ServeAsync(_toServer.Reader.AsStream(), _fromServer.Writer.AsStream(), isLast: true, _stop.Token);
        await _fromServer.Writer.CompleteAsync();
        return isQuit;
    }
}
