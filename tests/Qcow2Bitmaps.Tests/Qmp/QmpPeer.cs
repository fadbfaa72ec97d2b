using System.Text;
using System.Text.Json;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Qmp;

/// <summary>The client's end of a conversation, with QEMU's daemon or with us.</summary>
internal sealed class QmpPeer(Stream toServer, Stream fromServer) : IDisposable
{
    private readonly StreamReader _lines = new(fromServer, Encoding.UTF8);
    private readonly List<JsonElement> _events = [];

    /// <summary>What came without being asked for.</summary>
    public IReadOnlyList<JsonElement> Events => _events;

    /// <summary>Reads the greeting, and negotiates.</summary>
    public async Task<JsonElement> GreetAsync()
    {
        JsonElement greeting = (await ReadAsync())!.Value;
        Assert.True(greeting.TryGetProperty("QMP", out _), greeting.GetRawText());
        await OkAsync("""{"execute":"qmp_capabilities"}""");
        return greeting;
    }

    public Task SendAsync(string text) => SendAsync(Encoding.UTF8.GetBytes(text));

    public async Task SendAsync(ReadOnlyMemory<byte> bytes)
    {
        await toServer.WriteAsync(bytes);
        await toServer.FlushAsync();
    }

    /// <summary>Sends a command and returns the reply; events are put aside.</summary>
    public async Task<JsonElement> AskAsync(string command)
    {
        await SendAsync(command);
        try
        {
            return await ReplyAsync();
        }
        catch (EndOfStreamException e)
        {
            throw new EndOfStreamException($"The server has gone at {command}", e);
        }
    }

    /// <summary>Sends a command that is to succeed, and gives what it returns.</summary>
    public async Task<JsonElement> OkAsync(string command)
    {
        JsonElement reply = await AskAsync(command);
        return reply.TryGetProperty("return", out JsonElement result)
            ? result
            : throw new InvalidOperationException($"{command}: {reply.GetRawText()}");
    }

    /// <summary>Sends a command that is to be refused, and gives the class and the description.</summary>
    public async Task<(string Class, string Description)> RefusedAsync(string command)
    {
        JsonElement reply = await AskAsync(command);
        Assert.True(reply.TryGetProperty("error", out JsonElement error), $"{command}: {reply.GetRawText()}");
        return (error.GetProperty("class").GetString()!, error.GetProperty("desc").GetString()!);
    }

    /// <summary>The next reply.</summary>
    public async Task<JsonElement> ReplyAsync()
    {
        while (true)
        {
            JsonElement message = await ReadAsync() ?? throw new EndOfStreamException("The server has gone");
            if (!message.TryGetProperty("event", out _))
            {
                return message;
            }

            _events.Add(message);
        }
    }

    /// <summary>Takes events out of those that have come.</summary>
    public IReadOnlyList<JsonElement> Take(Predicate<JsonElement> isIt)
    {
        List<JsonElement> taken = _events.FindAll(isIt);
        _events.RemoveAll(isIt);
        return taken;
    }

    /// <summary>Waits for an event, unless it has come.</summary>
    public async Task<JsonElement> EventAsync(Predicate<JsonElement> isIt)
    {
        while (true)
        {
            if (_events.Find(isIt) is { ValueKind: JsonValueKind.Object } found)
            {
                return found;
            }

            JsonElement message = await ReadAsync() ?? throw new EndOfStreamException("The server has gone");
            Assert.True(message.TryGetProperty("event", out _), message.GetRawText());
            _events.Add(message);
        }
    }

    /// <summary>The next message; null at the end.</summary>
    public async Task<JsonElement?> ReadAsync()
    {
        while (await _lines.ReadLineAsync().WaitAsync(Patience.Limit) is { } line)
        {
            // The daemon tells of images that it makes on the same stream.
            if (line.StartsWith('{'))
            {
                return JsonElement.Parse(line);
            }
        }

        return null;
    }

    /// <summary>Sends no more.</summary>
    public ValueTask CloseAsync() => toServer.DisposeAsync();

    public void Dispose() => _lines.Dispose();
}
