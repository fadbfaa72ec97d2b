using System.IO.Pipelines;
using System.Text;
using System.Text.Json;
using Qcow2Bitmaps.Qmp.Protocol;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Qmp;

/// <summary>Input made to break or to fill the server: each gets an error or a clean end, and commands behind it still work.</summary>
public sealed class HostileInputTests
{
    private const string Good = """{"execute":"echo","arguments":{"text":"still here"},"id":"good"}""";

    public static TheoryData<string, string> Refused => new()
    {
        { new string('[', 1025), "JSON nesting depth limit exceeded" },
        { new string('[', 100_000), "JSON nesting depth limit exceeded" },
        { "{\"a\":" + new string('[', 5000), "JSON nesting depth limit exceeded" },
        { "\"" + new string('a', 2 << 20) + "\"", "JSON message size limit exceeded" },
        { new string('7', 2 << 20), "JSON message size limit exceeded" },
        { "{\"execute\":\"" + new string('a', 2 << 20), "JSON message size limit exceeded" },
        { "[" + new string(',', 2 << 20), "JSON message size limit exceeded" },
        { "[" + string.Concat(Enumerable.Repeat("1,", 70_000)) + "1]", "JSON token count limit exceeded" },
        { new string('[', 1024) + new string(']', 1024), "QMP input must be a JSON object" },
        { "\u0001", "JSON parse error, stray byte 0x01" },
        { "%!$&", "JSON parse error, stray '%'" },
        { "[1}", "JSON parse error, " },
        { "\"a\u0001b\"", "JSON parse error, " },
        { "{\"execute\":\"echo\",\"id\":\"\\ud800\"}", "JSON parse error, " },
        { "{\"execute\":\"echo\",\"\\udc00\":1}", "JSON parse error, " },
        { "{\"execute\":\"echo\",\"id\":{\"a\":1,\"a\":2}}", "JSON parse error, " },
    };

    [Theory]
    [MemberData(nameof(Refused), DisableDiscoveryEnumeration = true)]
    public async Task IsAnsweredWithOneError(string input, string description)
    {
        await using var server = new StubServer();
        await server.Peer.GreetAsync();
        await server.Peer.SendAsync(input + "\n" + Good);
        JsonElement refused = await server.Peer.ReplyAsync();
        Assert.Equal(QmpErrorClass.Generic, refused.GetProperty("error").GetProperty("class").GetString());
        Assert.StartsWith(description, refused.GetProperty("error").GetProperty("desc").GetString(), StringComparison.Ordinal);
        Assert.Equal("good", (await server.Peer.ReplyAsync()).GetProperty("id").GetString());
    }

    [Theory]
    [InlineData(new byte[] { (byte)'"', 0xC3, (byte)'"' })]
    [InlineData(new byte[] { (byte)'"', 0xC0, 0x80, (byte)'"' })]
    [InlineData(new byte[] { (byte)'"', 0xED, 0xA0, 0x80, (byte)'"' })]
    [InlineData(new byte[] { (byte)'{', (byte)'"', 0xF5, 0x80, 0x80, 0x80, (byte)'"', (byte)':', (byte)'1', (byte)'}' })]
    [InlineData(new byte[] { 0xC3, 0xA9 })]
    [InlineData(new byte[] { 0xFF })]
    [InlineData(new byte[] { (byte)'{', (byte)'"', 0xFF })]
    public async Task InvalidUtf8IsRefused(byte[] input)
    {
        await using var server = new StubServer();
        await server.Peer.GreetAsync();
        await server.Peer.SendAsync(input.AsMemory());
        await server.Peer.SendAsync("\n" + Good);
        Assert.StartsWith(
            "JSON parse error, ", (await server.Peer.ReplyAsync()).GetProperty("error").GetProperty("desc").GetString(),
            StringComparison.Ordinal);
        Assert.Equal("good", (await server.Peer.ReplyAsync()).GetProperty("id").GetString());
    }

    /// <summary>0xFF brings a client back to the start of a command, wherever it was.</summary>
    [Theory]
    [InlineData("{\"a\": \"")]
    [InlineData("%%%")]
    [InlineData("[[[")]
    public async Task AByteThatIsNoTextStartsAnew(string begun)
    {
        await using var server = new StubServer();
        await server.Peer.GreetAsync();
        await server.Peer.SendAsync((byte[])[.. Encoding.UTF8.GetBytes(begun), 0xFF, .. Encoding.UTF8.GetBytes(Good)]);
        Assert.True((await server.Peer.ReplyAsync()).TryGetProperty("error", out _));
        Assert.Equal("good", (await server.Peer.ReplyAsync()).GetProperty("id").GetString());
    }

    [Theory]
    [InlineData("", false)]
    [InlineData("{\"execute\":\"qmp_capabilities\"}", false)]
    [InlineData("{\"execute\":\"qmp_cap", true)]
    [InlineData("[[[[", true)]
    public async Task HalfACommandAndACloseEndsCleanly(string input, bool warns)
    {
        await using var server = new StubServer();
        await server.Peer.SendAsync(input);
        await server.Peer.CloseAsync();
        Assert.False(await server.Running.WaitAsync(Patience.Limit, TestContext.Current.CancellationToken));
        Assert.Equal(warns ? 1 : 0, server.Warnings.Count);
    }

    /// <summary>64 MiB that never end a command: the memory stays where it was.</summary>
    [Theory]
    [InlineData("{\"a\":\"", "aaaaaaaa")]
    [InlineData("[", "        ")]
    [InlineData("", "\n\r \t\n\r \t")]
    [InlineData("\u0001", "abcdefgh")]
    public async Task EndlessInputIsNotKept(string start, string repeated)
    {
        var framer = new QmpFramer(QmpLimits.Default);
        byte[] block = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat(repeated, 1 << 13)));
        int errors = 0;
        Read(Encoding.UTF8.GetBytes(start));
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1 << 10; i++)
        {
            Read(block);
        }

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 4 << 20);
        Assert.InRange(errors, 0, 1);
        await Task.CompletedTask;

        void Read(byte[] bytes)
        {
            var input = new System.Buffers.ReadOnlySequence<byte>(bytes);
            while (framer.TryRead(ref input, out QmpFrame frame))
            {
                Assert.NotNull(frame.Fault);
                errors++;
            }
        }
    }

    /// <summary>A client that sends and does not read is not read either: what waits for it is bounded.</summary>
    [Fact]
    public async Task AClientThatDoesNotReadIsHeldBack()
    {
        var toServer = new Pipe(new PipeOptions(pauseWriterThreshold: 1 << 16, resumeWriterThreshold: 1 << 15));
        var fromServer = new Pipe(new PipeOptions(pauseWriterThreshold: 1 << 16, resumeWriterThreshold: 1 << 15));
        var output = new QmpOutput(fromServer.Writer, CancellationToken.None);
        var session = new QmpSession(new QmpCommands(), new QmpEvents(TimeProvider.System), QmpLimits.Default, static _ => { });
        Task<bool> running = session.RunAsync(toServer.Reader, output, CancellationToken.None);
        byte[] block = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("]]]]]]]]\n", 1000)));
        Task sending = SendAsync();
        await Patience.UntilAsync(async () => await WaitingBytesAsync() >= 1 << 16, "replies wait for the client");
        for (int i = 0; i < 100; i++)
        {
            await Task.Run(static () => { }, TestContext.Current.CancellationToken);
            Assert.InRange(await WaitingBytesAsync(), 1 << 16, 1 << 17);
        }

        Assert.False(sending.IsCompleted);
        await fromServer.Reader.CompleteAsync();
        Assert.False(await running.WaitAsync(Patience.Limit, TestContext.Current.CancellationToken));
        await output.DisposeAsync();
        await toServer.Reader.CompleteAsync();
        await sending;

        async Task SendAsync()
        {
            for (int i = 0; i < 1000; i++)
            {
                await toServer.Writer.WriteAsync(block, TestContext.Current.CancellationToken);
            }
        }

        async Task<long> WaitingBytesAsync()
        {
            Assert.True(fromServer.Reader.TryRead(out ReadResult read) || read.Buffer.IsEmpty);
            long bytes = read.Buffer.Length;
            if (bytes > 0)
            {
                fromServer.Reader.AdvanceTo(read.Buffer.Start);
            }

            return bytes;
        }
    }
}
