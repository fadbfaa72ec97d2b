using System.Text.Json;
using System.Text.Json.Nodes;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// An overlay that has another size than what lies below: its bitmaps are valid by libvirt's words, and QEMU does not merge
/// them. We warn, and what we advise mends it.
/// </summary>
public sealed class GrownOverlayTests : IDisposable
{
    private readonly TempFolder _folder = TempFolder.InMemory();

    private string Base => _folder.File("base.qcow2");

    private string Middle => _folder.File("mid.qcow2");

    private string Top => _folder.File("top.qcow2");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("advice", "base.qcow2")]
    [InlineData("advice", "mid.qcow2")]
    [InlineData("commit", "base.qcow2")]
    [InlineData("commit", "mid.qcow2")]
    [InlineData("flatten", "base.qcow2")]
    [InlineData("flatten", "mid.qcow2")]
    public async Task WhatQemuCannotMergeIsSaidAndTheRemedyMendsIt(string remedy, string bornIn)
    {
        await MakeAsync(bornIn);
        ProcessResult resized = await Support.Cli.RunAsync("resize", Top, "6M");
        Assert.Equal(0, resized.ExitCode);
        Assert.Contains(
            "warning: Bitmap 'chk' is valid, but QEMU cannot back up by it, as it does not merge bitmaps of different sizes", resized.Error,
            StringComparison.Ordinal);
        Assert.NotNull(await MergeAsync(Top));

        ProcessResult text = await Support.Cli.RunAsync("chain", "check", Top);
        Assert.Equal(0, text.ExitCode);
        Assert.Contains("valid, not for QEMU: sizes differ", text.Output, StringComparison.Ordinal);
        JsonElement verdict = JsonDocument.Parse(await Support.Cli.OkAsync("chain", "check", "--output", "json", Top)).RootElement
            .GetProperty("bitmaps")[0];
        Assert.True(verdict.GetProperty("valid").GetBoolean() && verdict.GetProperty("sizes-differ").GetBoolean());
        string advice = verdict.GetProperty("advice").GetString()!;
        Assert.Contains($"remedy: {advice}.", text.Output, StringComparison.Ordinal);
        Assert.Contains(advice, resized.Error, StringComparison.Ordinal);

        string now = Top;
        string[] words = advice.Split(';')[0].Split(' ');
        switch (remedy)
        {
            case "commit":
                words = advice.Split("; or ")[1].Split(", or ")[0].Split(' ');
                now = words[^1];
                break;
            case "flatten":
                now = _folder.File("flat.qcow2");
                words = [.. advice.Split(", or ")[^1].Split(' ')[..^1], now];
                break;
            default:
                Assert.Equal("pull", words[2]);
                break;
        }

        await Support.Cli.OkAsync(words[1..]);
        Assert.Null(await MergeAsync(now));
        Assert.DoesNotContain("remedy", await Support.Cli.OkAsync("chain", "check", now), StringComparison.Ordinal);
        Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", now), StringComparison.Ordinal);
    }

    /// <summary>Whatever has a bitmap in images of different sizes afterwards says so.</summary>
    [Fact]
    public async Task EveryOperationAfterWhichSizesDifferWarns()
    {
        await MakeAsync("base.qcow2");
        await Support.Cli.OkAsync("resize", Top, "6M");

        string snapshot = await Support.Cli.OkAsync("chain", "snapshot", Top, _folder.File("next.qcow2"));
        Assert.Contains($"remedy: qcow2bitmaps chain pull {_folder.File("next.qcow2")};", snapshot, StringComparison.Ordinal);

        // The image in the middle grows, the base does not.
        string commit = await Support.Cli.OkAsync("chain", "commit", "--active", _folder.File("next.qcow2"), Top, Middle);
        Assert.Contains("chk: valid, but QEMU cannot back up by it", commit, StringComparison.Ordinal);
        string pull = await Support.Cli.OkAsync("chain", "pull", "--base", Base, _folder.File("next.qcow2"));
        Assert.Contains("chk: valid, but QEMU cannot back up by it", pull, StringComparison.Ordinal);

        string offline = _folder.File("offline.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "next.qcow2", "-F", "qcow2", offline, "8M");
        Assert.Contains(
            "chk: valid, but QEMU cannot back up by it", await Support.Cli.OkAsync("chain", "populate", offline, "chk"),
            StringComparison.Ordinal);

        ProcessResult shrunk = await Support.Cli.RunAsync("resize", "--shrink", offline, "3M");
        Assert.Contains("valid, but QEMU cannot back up by it", shrunk.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("commit", shrunk.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WhereAllSizesAreEqualNobodyWarns()
    {
        await MakeAsync("base.qcow2");
        Assert.Null(await MergeAsync(Top));
        Assert.DoesNotContain("remedy", await Support.Cli.OkAsync("chain", "check", Top), StringComparison.Ordinal);

        // A bitmap of the top image alone has one size.
        string other = _folder.File("other.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", other, "6M");
        await Qemu.ImgOkAsync("bitmap", "--add", other, "own");
        ProcessResult resized = await Support.Cli.RunAsync("resize", other, "7M");
        Assert.Equal((0, ""), (resized.ExitCode, resized.Error));
        Assert.Contains(
            "own  +  .  valid\n",
            (await Support.Cli.RunAsync("chain", "check", "--bitmap", "own", other)).Output
                .Replace("BITMAP  0  1  VERDICT\n", "", StringComparison.Ordinal)
                .Replace("own     ", "own  ", StringComparison.Ordinal),
            StringComparison.Ordinal);
    }

    /// <summary>Three images of 4 MiB; the bitmap is born in one of the lower two and goes on to the top.</summary>
    private async Task MakeAsync(string bornIn)
    {
        Qemu.Require();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", Base, "4M");
        if (bornIn == "base.qcow2")
        {
            await Qemu.ImgOkAsync("bitmap", "--add", Base, "chk");
        }

        await Qemu.IoOkAsync(Base, "write -P 1 0 1M");
        await Support.Cli.OkAsync("chain", "snapshot", Base, Middle);
        if (bornIn != "base.qcow2")
        {
            await Qemu.ImgOkAsync("bitmap", "--add", Middle, "chk");
        }

        await Qemu.IoOkAsync(Middle, "write -P 2 2M 64k");
        await Support.Cli.OkAsync("chain", "snapshot", Middle, Top);
        await Qemu.IoOkAsync(Top, "write -P 3 3M 64k");
    }

    /// <summary>Does what libvirt does for a backup: merges the bitmap of all images into a new one of the top image.</summary>
    /// <returns>QEMU's refusal; null where it succeeds.</returns>
    private async Task<string?> MergeAsync(string top)
    {
        await using StorageDaemon daemon = await StorageDaemon.StartAsync(_folder, top, isReadOnly: true);
        var sources = new JsonArray();
        foreach (JsonNode? node in (await daemon.OkAsync("query-named-block-nodes", new JsonObject { ["flat"] = true })).AsArray())
        {
            if (node!["dirty-bitmaps"]?.AsArray().Any(static bitmap => (string?)bitmap!["name"] == "chk") == true)
            {
                sources.Add(new JsonObject { ["node"] = (string)node["node-name"]!, ["name"] = "chk" });
            }
        }

        Assert.NotEmpty(sources);
        await daemon.OkAsync(
            "block-dirty-bitmap-add",
            new JsonObject { ["node"] = "disk", ["name"] = "backup-disk", ["persistent"] = false, ["disabled"] = true });
        return await daemon.TryAsync(
            "block-dirty-bitmap-merge", new JsonObject { ["node"] = "disk", ["target"] = "backup-disk", ["bitmaps"] = sources });
    }
}
