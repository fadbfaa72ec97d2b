using System.Text.Json;
using System.Text.Unicode;

namespace Qcow2Bitmaps.Qmp.Protocol;

/// <summary>A command as it came: its name, its arguments, and the id to send back.</summary>
internal sealed class QmpRequest
{
    private static readonly JsonElement s_noArguments = JsonElement.Parse("{}");

    private QmpRequest(JsonElement? id)
    {
        Id = id;
    }

    /// <summary>Any value, which the reply carries; null for none.</summary>
    public JsonElement? Id { get; }

    /// <summary>The command's name; empty with a fault.</summary>
    public string Command { get; private init; } = "";

    /// <summary>An object.</summary>
    public JsonElement Arguments { get; private init; } = s_noArguments;

    /// <summary>Why the message is not a valid command; null if it is one.</summary>
    public string? Fault { get; private init; }

    /// <summary>Reads a message.</summary>
    public static QmpRequest Parse(ReadOnlyMemory<byte> json, QmpLimits limits)
    {
        JsonElement message;
        try
        {
            if (!Utf8.IsValid(json.Span))
            {
                return Failed(id: null, "JSON parse error, invalid UTF-8 in string");
            }

            // A document of its own, with a copy of the bytes: the id may be needed when the next message has come.
            message = JsonElement.Parse(json.Span, new JsonDocumentOptions { MaxDepth = limits.Depth, AllowDuplicateProperties = false });
            int left = limits.Values;
            CheckValues(message, ref left);
            if (left < 0)
            {
                return Failed(id: null, "JSON token count limit exceeded");
            }
        }
        catch (JsonException e)
        {
            return Failed(id: null, "JSON parse error, " + ShortText(e));
        }
        catch (InvalidOperationException)
        {
            return Failed(id: null, "JSON parse error, a string holds half a surrogate pair, which is not a valid Unicode character");
        }

        return message.ValueKind == JsonValueKind.Object ? OfObject(message) : Failed(id: null, "QMP input must be a JSON object");
    }

    private static QmpRequest OfObject(JsonElement message)
    {
        JsonElement? id = message.TryGetProperty("id", out JsonElement given) ? given : null;
        string? command = null;
        JsonElement arguments = s_noArguments;
        foreach (JsonProperty member in message.EnumerateObject())
        {
            switch (member.Name)
            {
                case "id":
                    break;
                case "execute" when member.Value.ValueKind == JsonValueKind.String:
                    command = member.Value.GetString();
                    break;
                case "execute":
                    return Failed(id, "QMP input member 'execute' must be a string");
                case "arguments" when member.Value.ValueKind == JsonValueKind.Object:
                    arguments = member.Value;
                    break;
                case "arguments":
                    return Failed(id, "QMP input member 'arguments' must be an object");
                default:
                    return Failed(id, $"QMP input member '{member.Name}' is unexpected");
            }
        }

        return command is null
            ? Failed(id, "QMP input lacks member 'execute'")
            : new QmpRequest(id) { Command = command, Arguments = arguments };
    }

    private static QmpRequest Failed(JsonElement? id, string fault) => new(id) { Fault = fault };

    /// <summary>Counts values, and checks every string: one that is no text would fail later, inside a command or reply.</summary>
    private static void CheckValues(JsonElement value, ref int left)
    {
        left--;
        switch (value.ValueKind)
        {
            case JsonValueKind.String:
                _ = value.GetString();
                break;
            case JsonValueKind.Array:
                foreach (JsonElement item in value.EnumerateArray())
                {
                    CheckValues(item, ref left);
                }

                break;
            case JsonValueKind.Object:
                foreach (JsonProperty member in value.EnumerateObject())
                {
                    _ = member.Name;
                    CheckValues(member.Value, ref left);
                }

                break;
        }
    }

    /// <summary>The parser's message, without its advice and its position, which refers to the converted text.</summary>
    private static string ShortText(JsonException e)
    {
        int end = e.Message.IndexOf(". ", StringComparison.Ordinal);
        return end < 0 ? e.Message : e.Message[..end];
    }
}
