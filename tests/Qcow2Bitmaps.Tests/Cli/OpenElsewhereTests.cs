using System.Text.Json;
using System.Text.Json.Nodes;
using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>
/// <c>chain check -U</c> beside a program that writes an image: bitmaps may be in its memory only, so that nothing is "all valid".
/// </summary>
public sealed class OpenElsewhereTests : IDisposable
{
    private readonly TempFolder _folder = TempFolder.InMemory();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    /// <summary>A running machine whose checkpoints are in its memory only: nothing of them is on disk.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ARunningMachineIsNeverAllValid(bool hasStored)
    {
        Qemu.Require();
        string below = _folder.File("base.qcow2");
        string top = _folder.File("top.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", below, "1M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", top);
        if (hasStored)
        {
            await Qemu.ImgOkAsync("bitmap", "--add", top, "stored");
        }

        await using (StorageDaemon daemon = await StorageDaemon.StartAsync(_folder, top))
        {
            await daemon.OkAsync("block-dirty-bitmap-add", new JsonObject { ["node"] = "disk", ["name"] = "chk", ["persistent"] = true });
            await AssertIsOpenElsewhereAsync(top);
            ProcessResult named = await Support.Cli.RunAsync("chain", "check", "-U", "--bitmap", "chk", top);
            Assert.Equal(2, named.ExitCode);
            Assert.Contains("open-elsewhere in image 0", named.Output, StringComparison.Ordinal);
        }

        string closed = await Support.Cli.OkAsync("chain", "check", "-U", top);
        Assert.Contains("chk", closed, StringComparison.Ordinal);
        Assert.Contains(
            "\"all-valid\": true", await Support.Cli.OkAsync("chain", "check", "-U", "--output", "json", top), StringComparison.Ordinal);
    }

    /// <summary>What an idle program has stored looks valid on disk, until its next write.</summary>
    [Fact]
    public async Task BitmapsThatAnIdleProgramHasStoredAreNotValidEither()
    {
        string image = _folder.Write("a.qcow2", new TestImage(16, 1 << 20).WithBitmap("a").Build());
        await using (ImageChain chain = await ImageChain.OpenAsync(image, new ChainOpenOptions { WritableLayers = [0] }, Token))
        {
            await using RecordingSession session = await RecordingSession.OpenAsync(chain, leaveOpen: true, Token);
            await session.StoreBitmapsAsync(Token);
            await AssertIsOpenElsewhereAsync(image);
            ProcessResult extents = await Support.Cli.RunAsync("extents", "-U", "--chain", image, "a");
            Assert.Equal(2, extents.ExitCode);
            Assert.Contains("open for writing in another process", extents.Error, StringComparison.Ordinal);
        }

        await Support.Cli.OkAsync("chain", "check", "-U", image);
    }

    /// <summary>No bitmap knows of what somebody writes to a raw image below.</summary>
    [Fact]
    public async Task ARawBaseThatSomebodyWritesCountsToo()
    {
        string raw = _folder.Write("base.raw", new byte[1 << 16]);
        string top = _folder.Write("top.qcow2", new TestImage(9, 1 << 16) { BackingFile = "base.raw" }.WithBitmap("a").Build());
        await using (var writer = FileStorage.Open(raw, FileAccess.ReadWrite, ImageLock.Write))
        {
            await AssertIsOpenElsewhereAsync(top);
        }

        await Support.Cli.OkAsync("chain", "check", "-U", top);
    }

    private static async Task AssertIsOpenElsewhereAsync(string top)
    {
        ProcessResult text = await Support.Cli.RunAsync("chain", "check", "-U", top);
        Assert.Equal(2, text.ExitCode);
        Assert.Contains("open for writing in another process", text.Output, StringComparison.Ordinal);
        Assert.Contains("ask th", text.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("No image of the chain holds a bitmap.", text.Output, StringComparison.Ordinal);
        ProcessResult json = await Support.Cli.RunAsync("chain", "check", "-U", "--output", "json", top);
        Assert.Equal(2, json.ExitCode);
        JsonElement root = JsonDocument.Parse(json.OutputBytes).RootElement;
        Assert.False(root.GetProperty("all-valid").GetBoolean());
        Assert.Contains(
            root.GetProperty("images").EnumerateArray(),
            static image => image.TryGetProperty("open-elsewhere", out JsonElement open) && open.GetBoolean());
        Assert.All(
            root.GetProperty("bitmaps").EnumerateArray(), static bitmap => Assert.Equal("wait", bitmap.GetProperty("remedy").GetString()));
    }
}
