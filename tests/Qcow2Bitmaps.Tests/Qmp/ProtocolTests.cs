using System.Text;
using System.Text.Json;
using Qcow2Bitmaps.Qmp.Protocol;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Qmp;

/// <summary>Framing, negotiation, ids and errors, with commands that do nothing.</summary>
public sealed class ProtocolTests
{
    private const string Echo = """{"execute":"echo","arguments":{"text":"hey"},"id":1}""";

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(1000)]
    public async Task CommandsArriveInPiecesOrTogether(int pieceBytes)
    {
        await using var server = new StubServer();
        await server.Peer.GreetAsync();
        byte[] bytes = Encoding.UTF8.GetBytes(
            Echo + Echo + "\r\n  {\"execute\" :\n \"echo\",\t\"arguments\":{'text': 'a\\'b\"c'} , \"id\":[\"é\",{\"x\":null}] }");
        for (int at = 0; at < bytes.Length; at += pieceBytes)
        {
            await server.Peer.SendAsync(bytes.AsMemory(at, Math.Min(pieceBytes, bytes.Length - at)));
        }

        Assert.Equal(1, (await server.Peer.ReplyAsync()).GetProperty("id").GetInt32());
        Assert.Equal("hey", (await server.Peer.ReplyAsync()).GetProperty("return").GetProperty("text").GetString());
        JsonElement third = await server.Peer.ReplyAsync();
        Assert.Equal("a'b\"c", third.GetProperty("return").GetProperty("text").GetString());
        Assert.True(JsonElement.DeepEquals(JsonElement.Parse("""["é",{"x":null}]"""), third.GetProperty("id")));
        Assert.Empty(server.Warnings);
    }

    [Fact]
    public async Task TrailingCommasAndNumbersInStringsAreTakenWithAWarning()
    {
        await using var server = new StubServer();
        await server.Peer.GreetAsync();
        JsonElement result = await server.Peer.OkAsync(
            """{"execute":"echo","arguments":{"text":"a,}","number":"32768","speed":"-5", },}""");
        Assert.Equal(32768, result.GetProperty("number").GetInt32());
        Assert.Equal(-5, result.GetProperty("speed").GetInt32());
        Assert.Equal("a,}", result.GetProperty("text").GetString());
        Assert.Equal(3, server.Warnings.Count);
        Assert.Contains("comma", server.Warnings[0], StringComparison.Ordinal);
        Assert.Contains("'number'", server.Warnings[1], StringComparison.Ordinal);
        foreach (string bad in new[] { "{,}", "[1,,]", "[,]", "{\"execute\":\"echo\",,}" })
        {
            Assert.StartsWith("JSON parse error, ", (await server.Peer.RefusedAsync(bad)).Description, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task QuitEndsAndOthersStay()
    {
        await using var server = new StubServer();
        await server.Peer.GreetAsync();
        await server.Peer.OkAsync("""{"execute":"quit"}""");
        Assert.True(await server.Running);
        Assert.Null(await server.Peer.ReadAsync());
    }

    [Fact]
    public async Task EventsHaveTimestampsAndWaitForNegotiation()
    {
        await using var server = new StubServer();
        server.Events.Post("LOST", static writer => writer.WriteNullValue());
        await server.Peer.GreetAsync();
        long before = TimeProvider.System.GetUtcNow().ToUnixTimeSeconds();
        server.Events.Post("SEEN", static writer => writer.WriteNumberValue(5));
        JsonElement seen = await server.Peer.EventAsync(static _ => true);
        Assert.Equal("SEEN", seen.GetProperty("event").GetString());
        Assert.Equal(5, seen.GetProperty("data").GetInt32());
        Assert.InRange(seen.GetProperty("timestamp").GetProperty("seconds").GetInt64(), before, before + 30);
        Assert.InRange(seen.GetProperty("timestamp").GetProperty("microseconds").GetInt64(), 0, 999_999);
    }

    /// <summary>
    /// Wrong input that QEMU answers with one error: ours has the same class, id and, where the JSON itself is right, the same words.
    /// </summary>
    [Fact]
    public async Task WrongInputIsRefusedInTheWordsOfQemu()
    {
        Qemu.Require();
        string[] inputs =
        [
            """{"execute":"query-commands"}""",
            """{"execute":"nope"}""",
            """{"execute":"qmp_capabilities","arguments":{"enable":["x"]}}""",
            """{"execute":"qmp_capabilities","arguments":{"enable":5}}""",
            """{"execute":"qmp_capabilities","arguments":{"x":5}}""",
            """{"execute":"qmp_capabilities","id":{"a":[1,2.5,null,true,"\u00e9\ud83d\ude00\u0001"]}}""",
            """{"execute":"qmp_capabilities","id":"again"}""",
            """{"execute":"nope","id":3}""",
            """{"execute":3,"id":3}""",
            """{"foo":3,"id":"x"}""",
            """{"id":1}""",
            "{}", "[1]", "3 ", "\"a\"",
            """{"execute":"query-version","arguments":3}""",
            """{"execute":"query-version","arguments":[]}""",
            """{"execute":"query-version","arguments":{"a":1}}""",
            """{"execute":"query-version","x":1}""",
            """{"exec-oob":"query-version","id":1}""",
            """{"execute":"query-version","execute":"query-version"}""",
            """{"execute":"query-version","id":1,"id":2}""",
            """{"execute":"query-version","id":[1 2]}""",
            """{"execute":"query-version" "id":1}""",
            """{"execute":"query-version","id"}""",
            """{"execute":"query-version","id":nul}""",
            """{"execute":"query-version","id":"a\qb"}""",
            """{"execute":"query-version","id":"\ud800"}""",
            """{3:"query-version"}""",
            "}", "]", ",",
        ];
        await using var server = new StubServer();
        using var daemon = QemuDaemon.Start([]);
        Assert.True((await server.Peer.ReadAsync())!.Value.TryGetProperty("QMP", out _));
        Assert.True((await daemon.Peer.ReadAsync())!.Value.TryGetProperty("QMP", out _));
        foreach (string input in inputs)
        {
            JsonElement expected = await daemon.Peer.AskAsync(input + "\n");
            JsonElement actual = await server.Peer.AskAsync(input + "\n");
            if (!IsParseError(expected) || !IsParseError(actual))
            {
                Assert.True(JsonElement.DeepEquals(expected, actual), $"{input}: {expected.GetRawText()} and {actual.GetRawText()}");
            }
        }
    }

    [Fact]
    public async Task ReplyOfAnIdIsOneLine()
    {
        await using var server = new StubServer();
        await server.Peer.GreetAsync();
        JsonElement reply = await server.Peer.AskAsync("{\"execute\":\"nope\",\"id\":{\n\"a\"\n:\n[99999999999999999999,\n1e3]}}");
        Assert.Equal("""{"a":[99999999999999999999,1e3]}""", reply.GetProperty("id").GetRawText());
    }

    private static bool IsParseError(JsonElement reply) => reply.TryGetProperty("error", out JsonElement error)
        && error.GetProperty("class").GetString() == QmpErrorClass.Generic
        && error.GetProperty("desc").GetString()!.StartsWith("JSON parse error, ", StringComparison.Ordinal);
}
