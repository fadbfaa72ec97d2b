using System.Text.Json;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary><c>chain measure</c>, and what the other commands say before and after.</summary>
public sealed class ChainMeasureCommandTests : IDisposable
{
    private readonly TempFolder _folder = TempFolder.InMemory();

    private string Top => _folder.File("top.qcow2");

    private string Middle => _folder.File("middle.qcow2");

    private string Base => _folder.File("base.qcow2");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("--commit")]
    [InlineData("--pull")]
    [InlineData("--flatten")]
    [InlineData("--snapshot")]
    public async Task WhatIsMeasuredIsWhatItTakes(string what)
    {
        await MakeAsync();
        string made = _folder.File("new.qcow2");
        string[] asked = what is "--commit" ? [what, Base] : [what];
        ProcessResult text = await Support.Cli.RunAsync(["chain", "measure", .. asked, Top]);
        using JsonDocument json = await JsonAsync(["chain", "measure", .. asked, Top]);
        using JsonDocument atMost = await JsonAsync(["chain", "measure", "--tables", .. asked, Top]);
        string target = what is "--commit" ? Base : what is "--pull" ? Top : made;
        long before = target == made ? 0 : Length(target);
        using JsonDocument done = await JsonAsync(what switch
        {
            "--commit" => ["chain", "commit", "--keep", Top, Base],
            "--pull" => ["chain", "pull", Top],
            "--flatten" => ["chain", "flatten", Top, made],
            _ => ["chain", "snapshot", Top, made],
        });

        long required = json.RootElement.GetProperty("required").GetInt64();
        Assert.Equal(Length(target), required);
        Assert.Equal(required - before, json.RootElement.GetProperty("additional").GetInt64());
        Assert.Equal(before, json.RootElement.GetProperty("current").GetInt64());
        Assert.True(json.RootElement.GetProperty("exact").GetBoolean());
        Assert.Equal(what is "--snapshot", atMost.RootElement.GetProperty("exact").GetBoolean());
        // 256 KiB of zeros stand in clusters, of the top image.
        Assert.Equal(required + (what is "--snapshot" or "--pull" ? 0 : 256 << 10), atMost.RootElement.GetProperty("required").GetInt64());
        Assert.Contains($"required size: {required}\n", text.Output, StringComparison.Ordinal);
        Assert.Equal(Actions(done), Actions(json));
        if (json.RootElement.TryGetProperty("fully-allocated", out JsonElement full))
        {
            Assert.Contains($"fully allocated size: {full.GetInt64()}\n", text.Output, StringComparison.Ordinal);
            Assert.InRange(full.GetInt64(), 8 << 20, 9 << 20);
        }
    }

    [Theory]
    [InlineData("Exactly one of", "TOP")]
    [InlineData("Exactly one of", "--flatten", "--pull", "TOP")]
    [InlineData("--active", "--flatten", "--active", "TOP", "TOP")]
    [InlineData("--base", "--flatten", "--base", "TOP", "TOP")]
    public async Task WhatDoesNotGoTogetherIsRefused(string expected, params string[] arguments)
    {
        ProcessResult result = await Support.Cli.RunAsync(["chain", "measure", .. arguments]);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains(expected, result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ACommitTellsWhatItCopiedRemovedAndRebased()
    {
        await MakeAsync();
        using JsonDocument done = await JsonAsync("chain", "commit", "--active", Top, Middle, Base);
        Assert.Equal(3 << 20, done.RootElement.GetProperty("copied").GetInt64());
        Assert.Equal([Middle], done.RootElement.GetProperty("removed").EnumerateArray().Select(static path => path.GetString()));
        JsonElement rebased = Assert.Single(done.RootElement.GetProperty("rebased").EnumerateArray());
        Assert.Equal((Top, "base.qcow2"), (rebased.GetProperty("image").GetString(), rebased.GetProperty("backing-filename").GetString()));
        Assert.Equal([("a", "merged", Base)], Actions(done));
    }

    [Fact]
    public async Task APullAndARebaseTellWhatTheyCopied()
    {
        await MakeAsync();
        using JsonDocument pulled = await JsonAsync("chain", "pull", "--base", Base, Top);
        Assert.Equal(
            "base.qcow2",
            Assert.Single(pulled.RootElement.GetProperty("rebased").EnumerateArray()).GetProperty("backing-filename").GetString());
        Assert.Equal(3 << 20, pulled.RootElement.GetProperty("copied").GetInt64());
        using JsonDocument rebased = await JsonAsync("chain", "rebase", "-b", "", Top);
        Assert.False(Assert.Single(rebased.RootElement.GetProperty("rebased").EnumerateArray()).TryGetProperty("backing-filename", out _));
        Assert.Equal(1 << 20, rebased.RootElement.GetProperty("copied").GetInt64());
        Assert.Empty(rebased.RootElement.GetProperty("removed").EnumerateArray());
    }

    [Theory]
    [InlineData("commit")]
    [InlineData("pull")]
    [InlineData("rebase")]
    [InlineData("flatten")]
    public async Task ProgressAndWhatWillBecomeOfBitmapsAreShown(string operation)
    {
        await MakeAsync();
        string[] arguments = ["chain", operation, .. operation switch
        {
            "commit" => (string[])["--keep", Top, Base],
            "rebase" => ["-b", "", Top],
            "flatten" => [Top, _folder.File("new.qcow2")],
            _ => [Top],
        }];
        ProcessResult asked = await Support.Cli.RunAsync([.. arguments, "-p"]);
        Assert.Contains("(100.00/100%)", asked.Output, StringComparison.Ordinal);
        Assert.Contains("To be done: Bitmap 'a' in '", asked.Error, StringComparison.Ordinal);
        Assert.Contains("merged", asked.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task OnATerminalTheRateAndTheTimeLeftAreShown()
    {
        await MakeAsync();
        ProcessResult shown = await Support.Cli.RunAsync(isTerminal: true, "chain", "commit", "--keep", Top, Base);
        Assert.Contains("/s, ", shown.Output, StringComparison.Ordinal);
        Assert.Contains(" left", shown.Output, StringComparison.Ordinal);
        Assert.Contains("To be done: Bitmap 'a'", shown.Error, StringComparison.Ordinal);
        ProcessResult quiet = await Support.Cli.RunAsync(isTerminal: true, "chain", "pull", "--output", "json", Top);
        Assert.Empty(quiet.Error);
    }

    private static (string?, string?, string?)[] Actions(JsonDocument json) =>
        [.. json.RootElement.GetProperty("bitmaps").EnumerateArray().Select(
        static change => (change.GetProperty("name")
            .GetString(), change
            .GetProperty("action")
            .GetString(), change
            .GetProperty("image")
            .GetString() is { } image && Path
            .GetFileName(image) is not ("the new image" or "new.qcow2")
            ? image
            : null))];

    private static long Length(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read);
        return file.Length;
    }

    private static async Task<JsonDocument> JsonAsync(params string[] arguments)
    {
        ProcessResult result = await Support.Cli.RunAsync([.. arguments, "--output", "json"]);
        Assert.True(result.ExitCode == 0, result.Error);
        return JsonDocument.Parse(result.Output);
    }

    private async Task MakeAsync()
    {
        Qemu.Require();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", Base, "8M");
        await Qemu.ImgOkAsync("bitmap", "--add", Base, "a");
        await Qemu.IoOkAsync(Base, "write -P 1 0 1M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", Middle);
        await Qemu.ImgOkAsync("bitmap", "--add", Middle, "a");
        await Qemu.IoOkAsync(Middle, "write -P 2 2M 3M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "middle.qcow2", "-F", "qcow2", Top);
        await Qemu.ImgOkAsync("bitmap", "--add", Top, "a");
        await Qemu.IoOkAsync(Top, "write -P 3 6M 1M", "write -P 0 7M 256k");
    }
}
