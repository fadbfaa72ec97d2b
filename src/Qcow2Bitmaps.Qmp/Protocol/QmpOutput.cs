using System.Buffers;
using System.IO.Pipelines;
using System.Text.Json;
using System.Threading.Channels;
using CommunityToolkit.HighPerformance.Buffers;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Qmp.Protocol;

/// <summary>
/// The output to a client: replies and events, each on one line, never mixed. Sending a reply waits until it is written, so that a client
/// that does not read stops only its own commands. Events do not wait, since jobs must continue; each job has only a few. Thread-safe.
/// </summary>
internal sealed class QmpOutput : IAsyncDisposable
{
    private static readonly JsonWriterOptions s_options = new() { MaxDepth = 2048, SkipValidation = true };

    private readonly Channel<(
        byte[] Line, TaskCompletionSource? Written)> _lines = Channel.CreateUnbounded<(byte[], TaskCompletionSource?)>(
        new UnboundedChannelOptions { SingleReader = true });

    private readonly CancellationToken _cancellationToken;
    private readonly Task _pump;

    public QmpOutput(PipeWriter pipe, CancellationToken cancellationToken)
    {
        _cancellationToken = cancellationToken;
        _pump = PumpAsync(pipe, cancellationToken);
    }

    /// <summary>Sends a reply or the greeting, and waits until it is on its way.</summary>
    /// <exception cref="IOException">The client is gone.</exception>
    /// <exception cref="OperationCanceledException">The server stops, and the client does not read.</exception>
    public async ValueTask SendAsync(QmpResult message)
    {
        var written = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        if (!_lines.Writer.TryWrite((LineOf(message), written)))
        {
            throw Gone(inner: null);
        }

        await written.Task.WaitAsync(_cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Sends an event. No effect if the client is gone.</summary>
    public void Post(QmpResult message) => _lines.Writer.TryWrite((LineOf(message), null));

    /// <summary>Waits until all is written or the server stops: a write to a pipe without a reader cannot be cancelled.</summary>
    public async ValueTask DisposeAsync()
    {
        _lines.Writer.TryComplete();
        await _pump.WaitAsync(_cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private static byte[] LineOf(QmpResult message)
    {
        using var buffer = new ArrayPoolBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer, s_options))
        {
            message(writer);
        }

        buffer.Write("\r\n"u8);
        return buffer.WrittenSpan.ToArray();
    }

    private static IOException Gone(Exception? inner) => IOException.Of("The client has closed the connection", inner);

    private async Task PumpAsync(PipeWriter pipe, CancellationToken cancellationToken)
    {
        Exception? failure = null;
        while (failure is null && await _lines.Reader.WaitToReadAsync(CancellationToken.None).ConfigureAwait(false))
        {
            while (failure is null && _lines.Reader.TryRead(out (byte[] Line, TaskCompletionSource? Written) next))
            {
                try
                {
                    FlushResult result = await pipe.WriteAsync(next.Line, cancellationToken).ConfigureAwait(false);
                    failure = result.IsCompleted ? Gone(inner: null) : null;
                }
                catch (Exception e) when (e is IOException or ObjectDisposedException or OperationCanceledException)
                {
                    failure = Gone(e);
                }

                Settle(next.Written, failure);
            }
        }

        _lines.Writer.TryComplete();
        while (_lines.Reader.TryRead(out (byte[] Line, TaskCompletionSource? Written) left))
        {
            Settle(left.Written, failure ?? Gone(inner: null));
        }
    }

    private static void Settle(TaskCompletionSource? written, Exception? failure)
    {
        if (failure is null)
        {
            written?.SetResult();
        }
        else
        {
            written?.SetException(failure);
        }
    }
}
