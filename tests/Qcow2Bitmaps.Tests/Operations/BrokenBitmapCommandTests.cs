using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>Bitmaps that are not valid over their chain: what is said of them, and rebuilding or removing them.</summary>
public sealed class BrokenBitmapCommandTests : IDisposable
{
    private readonly TempFolder _folder = TempFolder.InMemory();
    private readonly CommandChains _chains;

    public BrokenBitmapCommandTests() => _chains = new CommandChains(_folder);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task ABitmapIsRebuiltFromWhatOverlaysHave()
    {
        Qemu.Require();
        (string[] images, byte[] atCheckpoint) = await _chains.MakeBrokenChainAsync();
        ProcessResult check = await Support.Cli.RunAsync("chain", "check", images[^1]);
        Assert.Equal(2, check.ExitCode);

        await Support.Cli.OkAsync("chain", "populate", images[^1], "a");

        await Support.Cli.OkAsync("chain", "check", images[^1]);
        foreach (string image in images)
        {
            ProcessResult sound = await Qemu.ImgAsync("check", image);
            Assert.True(sound.ExitCode == 0, sound.Output + sound.Error);
        }

        await using ImageChain chain = await ImageChain.OpenAsync(images[^1], cancellationToken: Token);
        var now = new byte[chain.SizeBytes];
        await chain.ReadAsync(0, now, Token);
        var bits = new DirtyBitmap(now.Length, 512);
        await foreach (DirtyExtent extent in chain.ReadExtentsAsync("a", cancellationToken: Token))
        {
            bits.Set(extent.OffsetBytes, extent.LengthBytes);
        }

        int changed = 0;
        for (int at = 0; at < now.Length; at += 512)
        {
            bool differs = !now.AsSpan(at, 512).SequenceEqual(atCheckpoint.AsSpan(at, 512));
            changed += differs ? 1 : 0;
            Assert.True(bits.IsDirty(at) || !differs, $"the change at {at} is missed");
        }

        Assert.True(changed > 0 && bits.Count().Bytes < now.Length / 2);
    }

    [Fact]
    public async Task WhereAllocationDoesNotTellRebuildingIsRefused()
    {
        Qemu.Require();
        string image = _folder.File("only.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", image, "1M");
        await Qemu.ImgOkAsync("bitmap", "--add", image, "a");
        await new QemuNode(image).CrashAsync();

        await AssertIsNotRebuiltAsync(image, "no backing file");

        await Support.Cli.OkAsync("chain", "populate", "--all-dirty", image, "a");
        await using Qcow2Image opened = await Qcow2Image.OpenAsync(image, cancellationToken: Token);
        Assert.Equal(BitmapState.Recording, opened.Bitmaps[0].State);
        Assert.Equal(
            [new DirtyExtent(0, 1 << 20, true)], [.. (await opened.Bitmaps.LoadAsync("a", cancellationToken: Token)).Extents()]);
    }

    /// <summary>An image that was committed and emptied no longer has what was written to it, and nothing shows that.</summary>
    [Fact]
    public async Task WhereABitmapWasBornRebuildingTakesConsent()
    {
        Qemu.Require();
        string below = _folder.File("below.qcow2");
        string image = _folder.File("born.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", below, "1M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", image);
        await Qemu.ImgOkAsync("bitmap", "--add", image, "a");
        await Qemu.IoOkAsync(image, "write -P 1 128k 64k");
        await Qemu.ImgOkAsync("commit", "-q", image);
        await new QemuNode(image).CrashAsync();

        await AssertIsNotRebuiltAsync(image, "(--trust-birth if neither was done); all of it could be marked instead (--all-dirty)");
        Assert.Contains(
            "remedy: qcow2bitmaps chain delete", (await Support.Cli.RunAsync("chain", "check", image)).Output, StringComparison.Ordinal);
    }

    /// <summary>What is foretold, before anything is written, is what is done.</summary>
    [Theory]
    [InlineData("populate", "human")]
    [InlineData("populate", "json")]
    [InlineData("delete", "human")]
    [InlineData("prune", "human")]
    [InlineData("prune", "json")]
    public async Task WhatWillBecomeOfBitmapsIsToldBefore(string operation, string form)
    {
        Qemu.Require();
        (string[] images, _) = await _chains.MakeBrokenChainAsync();
        string[] command = [
            "chain",
            operation,
            "-p",
            "--output",
            form,
            images[^1],
            .. operation == "prune" ? Array.Empty<string>() : ["a"],
        ];

        ProcessResult result = await Support.Cli.RunAsync(command);

        Assert.Equal(0, result.ExitCode);
        string[] told = [.. result.Error.Split('\n')
            .Where(static line => line.StartsWith("To be done: ", StringComparison.Ordinal))
            .Select(static line => line["To be done: ".Length..])];
        Assert.Equal(2, told.Length);
        Assert.Equal(2, result.Error.Split('\n').Count(static line => line.StartsWith("To be written: ", StringComparison.Ordinal)));
        if (form == "human")
        {
            Assert.Equal(told, result.Output.Split('\n').Where(static line => line.StartsWith("Bitmap '", StringComparison.Ordinal)));
        }
        else
        {
            Assert.Equal(2, System.Text.Json.JsonDocument.Parse(result.Output).RootElement.GetProperty("bitmaps").GetArrayLength());
        }
    }

    /// <summary>What the check says that helps, helps.</summary>
    [Fact]
    public async Task TheRemedyThatIsNamedHelps()
    {
        Qemu.Require();
        (string[] images, _) = await _chains.MakeBrokenChainAsync();
        string top = images[^1];
        ProcessResult check = await Support.Cli.RunAsync("chain", "check", top);
        Assert.Contains($"remedy: qcow2bitmaps chain populate {top} a:", check.Output, StringComparison.Ordinal);
        ProcessResult json = await Support.Cli.RunAsync("chain", "check", "--output", "json", top);
        Assert.Contains("\"remedy\": \"populate\"", json.Output, StringComparison.Ordinal);
        await Support.Cli.OkAsync("chain", "populate", top, "a");
        Assert.DoesNotContain("remedy", await Support.Cli.OkAsync("chain", "check", top), StringComparison.Ordinal);

        // Nothing but consent makes this one valid.
        string only = _folder.File("it's one.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", only, "1M");
        await Qemu.ImgOkAsync("bitmap", "--add", only, "b c");
        await new QemuNode(only).CrashAsync();
        check = await Support.Cli.RunAsync("chain", "check", only);
        Assert.Contains(
            $"remedy: qcow2bitmaps chain delete '{only.Replace("'", @"'\''", StringComparison.Ordinal)}' 'b c', and a full backup",
            check.Output, StringComparison.Ordinal);
        Assert.Equal(1, (await Support.Cli.RunAsync("chain", "populate", only, "b c")).ExitCode);
        await Support.Cli.OkAsync("chain", "delete", only, "b c");
        await Support.Cli.OkAsync("chain", "check", only);
    }

    [Fact]
    public async Task BitmapsAreRemovedFromAllImages()
    {
        Qemu.Require();
        (string[] images, _) = await _chains.MakeBrokenChainAsync();
        string top = images[^1];
        ProcessResult reconcile = await Support.Cli.RunAsync(
            "chain", "reconcile", "--output", "json", "--expect", "a", "--expect", "nobody", top);
        Assert.Equal(2, reconcile.ExitCode);
        Assert.Contains("\"nobody\"", reconcile.Output, StringComparison.Ordinal);

        await Support.Cli.OkAsync("chain", "prune", top);
        foreach (string image in images)
        {
            await using Qcow2Image opened = await Qcow2Image.OpenAsync(image, cancellationToken: Token);
            Assert.DoesNotContain(opened.Bitmaps, static bitmap => bitmap.Name == "a");
            Assert.Equal(0, (await Qemu.ImgAsync("check", image)).ExitCode);
        }

        Assert.Equal(1, (await Support.Cli.RunAsync("chain", "delete", top, "a")).ExitCode);
    }

    private static async Task AssertIsNotRebuiltAsync(string image, string reason)
    {
        byte[] before = await File.ReadAllBytesAsync(image, Token);
        ProcessResult refused = await Support.Cli.RunAsync("chain", "populate", image, "a");
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains(reason, refused.Error, StringComparison.Ordinal);
        Assert.Equal(before, await File.ReadAllBytesAsync(image, Token));
    }
}
