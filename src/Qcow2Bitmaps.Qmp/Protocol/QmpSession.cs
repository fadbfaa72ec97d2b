using System.Buffers;
using System.IO.Pipelines;
using System.Reflection;
using System.Text.Json;

namespace Qcow2Bitmaps.Qmp.Protocol;

/// <summary>One client, from the greeting to the end. Commands run one after another, in the order received.</summary>
internal sealed class QmpSession
{
    private const string Negotiate = "qmp_capabilities";

    // The QEMU version whose replies these are; clients decide by it which commands they may send.
    private const int QemuMajor = 7;
    private const int QemuMinor = 2;

    private readonly QmpCommands _commands;
    private readonly QmpEvents _events;
    private readonly QmpLimits _limits;
    private readonly Action<string> _warn;
    private bool _isNegotiated;

    /// <summary>Makes the session; nothing is sent yet.</summary>
    /// <param name="commands">The commands that a client may call, besides the session's own.</param>
    /// <param name="events">The events that it receives.</param>
    /// <param name="limits">The limits on what it may send.</param>
    /// <param name="warn">Receives a warning for each deviation that was accepted.</param>
    public QmpSession(QmpCommands commands, QmpEvents events, QmpLimits limits, Action<string> warn)
    {
        _commands = commands;
        _events = events;
        _limits = limits;
        _warn = warn;
    }

    /// <summary>Serves a client until it goes or quits.</summary>
    /// <returns>Whether it asked the server to end.</returns>
    /// <exception cref="IOException">Reading failed.</exception>
    public async Task<bool> RunAsync(PipeReader input, QmpOutput output, CancellationToken cancellationToken)
    {
        var framer = new QmpFramer(_limits);
        try
        {
            await output.SendAsync(WriteGreeting).ConfigureAwait(false);
        }
        catch (IOException)
        {
            return false;
        }

        while (true)
        {
            // A read of standard input cannot be cancelled, only left.
            ReadResult read = await input.ReadAsync(cancellationToken).AsTask().WaitAsync(cancellationToken).ConfigureAwait(false);
            ReadOnlySequence<byte> buffer = read.Buffer;
            while (framer.TryRead(ref buffer, out QmpFrame frame))
            {
                bool isQuit;
                QmpResult reply;
                (reply, isQuit) = await AnswerAsync(frame, output, cancellationToken).ConfigureAwait(false);
                try
                {
                    await output.SendAsync(reply).ConfigureAwait(false);
                }
                catch (IOException)
                {
                    return isQuit;
                }

                if (isQuit)
                {
                    return true;
                }
            }

            input.AdvanceTo(buffer.End);
            if (read.IsCompleted)
            {
                if (framer.IsInside)
                {
                    _warn("the client went in the middle of a command, which was dropped");
                }

                return false;
            }
        }
    }

    private async ValueTask<(QmpResult Reply, bool IsQuit)> AnswerAsync(
        QmpFrame frame, QmpOutput output, CancellationToken cancellationToken)
    {
        QmpRequest? request = null;
        try
        {
            if (frame.Fault is not null)
            {
                throw new QmpException(frame.Fault);
            }

            request = QmpRequest.Parse(frame.Json, _limits);
            if (request.Fault is not null)
            {
                throw new QmpException(request.Fault);
            }

            if (frame.TrailingCommas > 0)
            {
                _warn("the command has a comma before a closing bracket, which JSON forbids; ignored");
            }

            var arguments = new QmpArguments(request.Arguments, path: "", _warn);
            if (request.Command is "quit" && _isNegotiated)
            {
                arguments.Finish();
                return (ReplyOf(request.Id, result: null), true);
            }

            return (
                ReplyOf(request.Id, await RunAsync(request.Command, arguments, output, cancellationToken).ConfigureAwait(false)), false);
        }
        catch (QmpException e)
        {
            return (ErrorOf(request?.Id, e.ErrorClass, e.Message), false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return (ErrorOf(request?.Id, QmpErrorClass.Generic, e.Message), false);
        }
    }

    private async ValueTask<QmpResult?> RunAsync(
        string command, QmpArguments arguments, QmpOutput output, CancellationToken cancellationToken)
    {
        if (command is Negotiate)
        {
            if (_isNegotiated)
            {
                throw new QmpException("Capabilities negotiation is already complete, command ignored", QmpErrorClass.CommandNotFound);
            }

            foreach (JsonElement capability in arguments.OptionalList("enable") ?? [])
            {
                string name = capability.ValueKind == JsonValueKind.String
                    ? capability.GetString()!
                    : throw QmpArguments.WrongType("null", "string");
                throw name is "oob" ? new QmpException("Capability oob is not available") : QmpArguments.NotAccepted("null", name);
            }

            arguments.Finish();
            _isNegotiated = true;
            _events.SendTo(output);
            return null;
        }

        if (!_isNegotiated)
        {
            throw new QmpException($"Expecting capabilities negotiation with '{Negotiate}'", QmpErrorClass.CommandNotFound);
        }

        switch (command)
        {
            case "query-commands":
                arguments.Finish();
                return WriteCommands;
            case "query-version":
                arguments.Finish();
                return WriteVersion;
            default:
                QmpHandler handler = _commands.Find(command)
                    ?? throw new QmpException($"The command {command} has not been found", QmpErrorClass.CommandNotFound);
                return await handler(arguments, cancellationToken).ConfigureAwait(false);
        }
    }

    private void WriteCommands(Utf8JsonWriter writer)
    {
        writer.WriteStartArray();
        foreach (string name
            in _commands.Names.Concat([Negotiate, "query-commands", "query-version", "quit"]).Order(StringComparer.Ordinal))
        {
            writer.WriteStartObject();
            writer.WriteString("name", name);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    }

    private static QmpResult ReplyOf(JsonElement? id, QmpResult? result) => writer =>
    {
        writer.WriteStartObject();
        writer.WritePropertyName("return");
        if (result is null)
        {
            writer.WriteStartObject();
            writer.WriteEndObject();
        }
        else
        {
            result(writer);
        }

        WriteId(writer, id);
        writer.WriteEndObject();
    };

    private static QmpResult ErrorOf(JsonElement? id, string errorClass, string description) => writer =>
    {
        writer.WriteStartObject();
        writer.WriteStartObject("error");
        writer.WriteString("class", errorClass);
        writer.WriteString("desc", description);
        writer.WriteEndObject();
        WriteId(writer, id);
        writer.WriteEndObject();
    };

    private static void WriteId(Utf8JsonWriter writer, JsonElement? id)
    {
        if (id is { } value)
        {
            writer.WritePropertyName("id");
            value.WriteTo(writer);
        }
    }

    private static void WriteGreeting(Utf8JsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteStartObject("QMP");
        writer.WritePropertyName("version");
        WriteVersion(writer);
        writer.WriteStartArray("capabilities");
        writer.WriteEndArray();
        writer.WriteEndObject();
        writer.WriteEndObject();
    }

    private static void WriteVersion(Utf8JsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteStartObject("qemu");
        writer.WriteNumber("micro", 0);
        writer.WriteNumber("minor", QemuMinor);
        writer.WriteNumber("major", QemuMajor);
        writer.WriteEndObject();
        writer.WriteString(
            "package",
            "qcow2bitmaps "
            + typeof(QmpSession).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion);
        writer.WriteEndObject();
    }
}
