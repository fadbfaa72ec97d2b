using System.IO.Pipelines;
using System.Net.Sockets;
using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Qmp.Commands;
using Qcow2Bitmaps.Qmp.Jobs;
using Qcow2Bitmaps.Qmp.Nodes;
using Qcow2Bitmaps.Qmp.Protocol;

namespace Qcow2Bitmaps.Qmp;

/// <summary>
/// A server that holds images open for clients, which work on their bitmaps over the QEMU Machine Protocol, one client after another.
/// </summary>
/// <remarks>Not thread-safe; jobs run concurrently with the clients' commands.</remarks>
public sealed class QmpServer : IAsyncDisposable
{
    private readonly QmpNodes _nodes;
    private readonly QmpEvents _events;
    private readonly QmpJobs _jobs;
    private readonly QmpCommands _commands = new();
    private readonly Action<string> _warn;

    private QmpServer(QmpNodes nodes, ChainOpenOptions options, Action<string> warn, TimeProvider clock)
    {
        _nodes = nodes;
        _warn = warn;
        _events = new QmpEvents(clock);
        _jobs = new QmpJobs(_events);
        var actions = new Dictionary<string, ActionReader>(StringComparer.Ordinal);
        BitmapActions.AddTo(actions, nodes);
        new BackupActions(nodes, _jobs, options).AddTo(actions);
        TransactionCommand.AddTo(_commands, actions, _jobs);
        JobCommands.AddTo(_commands, _jobs);
        QueryCommands.AddTo(_commands, nodes);
    }

    /// <summary>Opens the images, with the locks of a writer or of a reader; from now on their bitmaps are in use.</summary>
    /// <param name="images">The images, at least one.</param>
    /// <param name="warn">Receives a warning for each deviation that was accepted; called while commands run.</param>
    /// <param name="options">How backing files are found, also for targets of backups; the defaults when null.</param>
    /// <param name="clock">Gives the time of events; the system's when null.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <returns>The server, to be closed.</returns>
    /// <exception cref="ArgumentException">A name is invalid or given twice, or there is no image.</exception>
    /// <exception cref="Qcow2Exception">An image is broken, or used elsewhere; none is left open.</exception>
    /// <exception cref="IOException">An image cannot be opened.</exception>
    public static async Task<QmpServer> OpenAsync(
        IReadOnlyList<QmpImage> images, Action<string> warn, ChainOpenOptions? options = null, TimeProvider? clock = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(images);
        ArgumentNullException.ThrowIfNull(warn);
        options ??= new ChainOpenOptions();
        var nodes = new List<QmpNode>();
        foreach (QmpImage image in images)
        {
            if (!QmpNodes.IsNodeName(image.Node))
            {
                throw new ArgumentException(PrintableMessage.Of($"Invalid node-name: '{image.Node}'"), nameof(images));
            }
        }

        if (images.Count == 0)
        {
            throw new ArgumentException("At least one image is needed", nameof(images));
        }

        if (images.GroupBy(static image => image.Node, StringComparer.Ordinal).FirstOrDefault(static same => same.Count() > 1) is { } twice)
        {
            throw new ArgumentException($"Duplicate nodes with node-name='{twice.Key}'", nameof(images));
        }

        bool isOpen = false;
        try
        {
            foreach (QmpImage image in images)
            {
                ImageChain chain = await ImageChain.OpenAsync(
                    image.Path, options with { WritableLayers = image.IsReadOnly ? [] : [0] }, cancellationToken).ConfigureAwait(false);
                await WarnOfTruncationAsync(chain, warn, cancellationToken).ConfigureAwait(false);
                RecordingSession session = await RecordingSession.OpenAsync(
                    chain, leaveOpen: false, cancellationToken).ConfigureAwait(false);
                nodes.Add(new QmpNode(image.Node, image.Path, session));
            }

            isOpen = true;
            return new QmpServer(new QmpNodes(nodes), options, warn, clock ?? TimeProvider.System);
        }
        finally
        {
            if (!isOpen)
            {
                foreach (IOException e in await CloseAsync(nodes).ConfigureAwait(false))
                {
                    warn(e.Message);
                }
            }
        }
    }

    /// <summary>Warns of files that are shorter than their images' tables require, before anything extends them.</summary>
    private static async ValueTask WarnOfTruncationAsync(ImageChain chain, Action<string> warn, CancellationToken cancellationToken)
    {
        try
        {
            foreach (IGrouping<ChainLayer, FormatFault> found
                in await chain.FindTruncationsAsync(cancellationToken: cancellationToken).ConfigureAwait(false))
            {
                foreach (FormatFault fault in found)
                {
                    warn($"'{found.Key.Path}': {fault}");
                }
            }
        }
        catch
        {
            await chain.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Serves one client until it leaves or quits. If no client can follow, waits for jobs that end by themselves.</summary>
    /// <param name="input">What it sends.</param>
    /// <param name="output">What it is sent.</param>
    /// <param name="isLast">Whether no other client follows.</param>
    /// <param name="cancellationToken">Ends the service.</param>
    /// <returns>Whether it asked the server to end.</returns>
    /// <exception cref="IOException">Reading failed.</exception>
    /// <exception cref="OperationCanceledException">The service was ended.</exception>
    public async Task<bool> ServeAsync(Stream input, Stream output, bool isLast, CancellationToken cancellationToken = default)
    {
        PipeReader reader = PipeReader.Create(input, new StreamPipeReaderOptions(leaveOpen: true));
        PipeWriter writer = PipeWriter.Create(output, new StreamPipeWriterOptions(leaveOpen: true));
        var sending = new QmpOutput(writer, cancellationToken);
        try
        {
            bool isQuit = await new QmpSession(
                _commands, _events, QmpLimits.Default, _warn).RunAsync(reader, sending, cancellationToken).ConfigureAwait(false);
            if (isQuit || isLast)
            {
                await _jobs.EndAsync(cancelsAll: isQuit).WaitAsync(cancellationToken).ConfigureAwait(false);
            }

            return isQuit;
        }
        finally
        {
            _events.SendTo(null);
            await sending.DisposeAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Creates a Unix socket that only the owner can access, and serves clients one after another until one quits.</summary>
    /// <param name="path">The socket's path. It must not exist, except as a socket left by a killed server.</param>
    /// <param name="cancellationToken">Ends the service.</param>
    /// <exception cref="IOException">The socket cannot be made.</exception>
    /// <exception cref="OperationCanceledException">The service was ended.</exception>
    public async Task ListenAsync(string path, CancellationToken cancellationToken = default)
    {
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            var place = new UnixDomainSocketEndPoint(path);
            try
            {
                listener.Bind(place);
            }
            catch (SocketException e) when (e.SocketErrorCode == SocketError.AddressAlreadyInUse && LeftSocket.TryRemove(path))
            {
                listener.Bind(place);
            }
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            // The framework's message states neither of these.
            string why = e is ArgumentException ? "a socket's path has 1 to 108 bytes"
                : Directory.Exists(Path.GetDirectoryName(Path.GetFullPath(path))) ? e.Message
                : "its folder does not exist";
            throw IOException.Of($"'{path}': no socket can be made: {why}", e);
        }

        try
        {
            if (!OperatingSystem.IsWindows())
            {
                // Nobody can connect before the socket listens.
                File.SetUnixFileMode(path, File.GetUnixFileMode(path) & (UnixFileMode.UserRead | UnixFileMode.UserWrite));
            }

            listener.Listen(backlog: 1);
            bool isQuit = false;
            while (!isQuit)
            {
                using Socket client = await listener.AcceptAsync(cancellationToken).ConfigureAwait(false);
                using var stream = new NetworkStream(client);
                try
                {
                    isQuit = await ServeAsync(stream, stream, isLast: false, cancellationToken).ConfigureAwait(false);
                }
                catch (IOException e)
                {
                    _warn($"the client was lost: {e.Message}");
                }
            }
        }
        finally
        {
            try
            {
                File.Delete(path);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                _warn(PrintableMessage.Of($"The socket '{path}' is not removed: {e}"));
            }
        }
    }

    /// <summary>Cancels all jobs, stores all bitmaps, and closes the images.</summary>
    /// <returns>Once all is durable.</returns>
    /// <exception cref="IOException">Bitmaps of an image could not be stored and stay marked as in use; all images are closed.</exception>
    public async ValueTask DisposeAsync()
    {
        try
        {
            await _jobs.EndAsync(cancelsAll: true).ConfigureAwait(false);
        }
        catch
        {
            (await CloseAsync(_nodes.All).ConfigureAwait(false)).ForEach(e => _warn(e.Message));
            throw;
        }

        List<IOException> failed = await CloseAsync(_nodes.All).ConfigureAwait(false);
        if (failed.Count > 0)
        {
            failed.Skip(1).ToList().ForEach(e => _warn(e.Message));
            throw failed[0];
        }
    }

    /// <summary>Closes all images, also where one cannot be closed without an error.</summary>
    /// <returns>The errors.</returns>
    private static async ValueTask<List<IOException>> CloseAsync(IEnumerable<QmpNode> nodes)
    {
        var failed = new List<IOException>();
        foreach (QmpNode node in nodes)
        {
            try
            {
                await node.Session.DisposeAsync().ConfigureAwait(false);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                failed.Add(IOException.Of($"Lost persistent bitmaps during inactivation of node '{node.Name}': {e}", e));
            }
        }

        return failed;
    }

    /// <summary>A node's session, for code in this process that writes the disk.</summary>
    internal RecordingSession SessionOf(string node) => _nodes.Node(node).Session;
}
