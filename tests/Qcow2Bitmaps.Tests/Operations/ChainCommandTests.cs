using System.Globalization;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>The commands on chains, on chains that QEMU made.</summary>
public sealed class ChainCommandTests : IDisposable
{
    private readonly TempFolder _folder = TempFolder.InMemory();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("cluster_size=64k")]
    [InlineData("cluster_size=4k")]
    [InlineData("cluster_size=128k,extended_l2=on")]
    public async Task AnOverlayRecordsWhatItsBaseRecords(string options)
    {
        Qemu.Require();
        string active = _folder.File("active.qcow2");
        string overlay = _folder.File("overlay.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", options, active, "5M");
        await Qemu.ImgOkAsync("bitmap", "--add", active, "a");
        await Qemu.ImgOkAsync("bitmap", "--add", "-g", "512", active, "fine");
        await Qemu.ImgOkAsync("bitmap", "--add", "--disable", active, "off");
        byte[] before = await File.ReadAllBytesAsync(active, Token);

        await RunAsync("chain", "snapshot", active, overlay);

        Assert.Equal(before, await File.ReadAllBytesAsync(active, Token));
        await Qemu.IoOkAsync(overlay, "write -P 7 1M 4k");
        Assert.Equal(0, (await Qemu.ImgAsync("check", overlay)).ExitCode);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(overlay, cancellationToken: Token);
        await using Qcow2Image below = await Qcow2Image.OpenAsync(active, cancellationToken: Token);
        Assert.Equal("active.qcow2", image.BackingFile);
        Assert.Equal((below.ClusterSizeBytes, below.Header.HasExtendedL2, below.VirtualSizeBytes), (image.ClusterSizeBytes, image.Header.HasExtendedL2, image.VirtualSizeBytes));
        Assert.Equal([("a", below.Bitmaps[0].GranularityBytes, BitmapState.Recording), ("fine", 512L, BitmapState.Recording)], image.Bitmaps.Select(static b => (b.Name, b.GranularityBytes, b.State)));
        Assert.Equal([new DirtyExtent(1 << 20, 4096, true)], [.. (await image.Bitmaps.LoadAsync("fine", cancellationToken: Token)).DirtyExtents()]);
        ProcessResult again = await Support.Cli.RunAsync("chain", "snapshot", active, overlay);
        Assert.Equal(1, again.ExitCode);
        Assert.Contains("exists", again.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ARawDiskNeedsItsFormatStatedAndGetsAnOverlay()
    {
        Qemu.Require();
        string active = _folder.File("disk.raw");
        string overlay = _folder.File("overlay.qcow2");
        await File.WriteAllBytesAsync(active, new byte[1 << 20], Token);
        Assert.Equal(1, (await Support.Cli.RunAsync("chain", "snapshot", active, overlay)).ExitCode);
        await RunAsync("chain", "snapshot", "-f", "raw", active, overlay);
        Assert.Contains("\"backing-filename-format\": \"raw\"", await Qemu.ImgOkAsync("info", "--output=json", overlay), StringComparison.Ordinal);
        Assert.Equal(0, (await Qemu.ImgAsync("compare", "-f", "raw", "-F", "qcow2", active, overlay)).ExitCode);
    }

    [Fact]
    public async Task ABitmapIsRebuiltFromWhatOverlaysHave()
    {
        Qemu.Require();
        (string[] images, byte[] atCheckpoint) = await MakeBrokenChainAsync();
        ProcessResult check = await Support.Cli.RunAsync("chain", "check", images[^1]);
        Assert.Equal(2, check.ExitCode);

        await RunAsync("chain", "populate", images[^1], "a");

        await RunAsync("chain", "check", images[^1]);
        foreach (string image in images)
        {
            ProcessResult sound = await Qemu.ImgAsync("check", image);
            Assert.True(sound.ExitCode == 0, sound.Output + sound.Error);
        }

        await using ImageChain chain = await ImageChain.OpenAsync(images[^1], cancellationToken: Token);
        var now = new byte[await chain.GetSizeBytesAsync(Token)];
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
        byte[] before = await File.ReadAllBytesAsync(image, Token);

        ProcessResult refused = await Support.Cli.RunAsync("chain", "populate", image, "a");
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("no backing file", refused.Error, StringComparison.Ordinal);
        Assert.Equal(before, await File.ReadAllBytesAsync(image, Token));

        await RunAsync("chain", "populate", "--all-dirty", image, "a");
        await using Qcow2Image opened = await Qcow2Image.OpenAsync(image, cancellationToken: Token);
        Assert.Equal(BitmapState.Recording, opened.Bitmaps[0].State);
        Assert.Equal([new DirtyExtent(0, 1 << 20, true)], [.. (await opened.Bitmaps.LoadAsync("a", cancellationToken: Token)).DirtyExtents()]);
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
        byte[] before = await File.ReadAllBytesAsync(image, Token);

        ProcessResult refused = await Support.Cli.RunAsync("chain", "populate", image, "a");

        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("the bitmap was born there", refused.Error, StringComparison.Ordinal);
        Assert.Equal(before, await File.ReadAllBytesAsync(image, Token));
        Assert.Contains("remedy: qcow2bitmaps chain delete", (await Support.Cli.RunAsync("chain", "check", image)).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task BitmapsAreRemovedFromAllImages()
    {
        Qemu.Require();
        (string[] images, _) = await MakeBrokenChainAsync();
        string top = images[^1];
        ProcessResult reconcile = await Support.Cli.RunAsync("chain", "reconcile", "--output", "json", "--expect", "a", "--expect", "nobody", top);
        Assert.Equal(2, reconcile.ExitCode);
        Assert.Contains("\"nobody\"", reconcile.Output, StringComparison.Ordinal);

        await RunAsync("chain", "prune", top);
        foreach (string image in images)
        {
            await using Qcow2Image opened = await Qcow2Image.OpenAsync(image, cancellationToken: Token);
            Assert.DoesNotContain(opened.Bitmaps, static bitmap => bitmap.Name == "a");
            Assert.Equal(0, (await Qemu.ImgAsync("check", image)).ExitCode);
        }

        Assert.Equal(1, (await Support.Cli.RunAsync("chain", "delete", top, "a")).ExitCode);
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
        (string[] images, _) = await MakeBrokenChainAsync();
        string[] command = ["chain", operation, "-p", "--output", form, images[^1], .. operation == "prune" ? Array.Empty<string>() : ["a"]];

        ProcessResult result = await Support.Cli.RunAsync(command);

        Assert.Equal(0, result.ExitCode);
        string[] told = [.. result.Error.Split('\n').Where(static line => line.StartsWith("To be done: ", StringComparison.Ordinal)).Select(static line => line["To be done: ".Length..])];
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

    /// <summary>An overlay that is not part of the chain: qemu-img goes on, so its verbs do; but they say whose disk changes.</summary>
    [Theory]
    [InlineData("commit", "ours-1.qcow2", true)]
    [InlineData("commit", "ours-2.qcow2", false)]
    [InlineData("commit -q", "ours-1.qcow2", false)]
    [InlineData("rebase -u", "ours-2.qcow2", true)]
    [InlineData("rebase -u", "ours-1.qcow2", false)]
    public async Task TheVerbsOfQemuWarnOfOverlays(string verb, string below, bool warns)
    {
        Qemu.Require();
        string[] ours = await MakeChainAsync("ours");
        string[] theirs = await MakeChainAsync("theirs");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", _folder.File("other.qcow2"));
        string[] Command(string[] images) =>
            [.. verb.Split(' '), .. verb == "rebase -u" ? ["-b", Path.GetFileName(images[1]), "-F", "qcow2"] : Array.Empty<string>(), images[^1]];

        ProcessResult expected = await Qemu.RunAsync("qemu-img", _folder.Path, Command(theirs));
        ProcessResult actual = await Support.Cli.RunAsync(Command(ours));

        Assert.Equal((expected.ExitCode, expected.Output), (actual.ExitCode, actual.Output));
        Assert.Equal(warns, actual.Error.Contains("other.qcow2", StringComparison.Ordinal));
        Assert.Equal(warns, actual.Error.Contains("warning", StringComparison.Ordinal));
    }

    /// <summary>What the check says that helps, helps.</summary>
    [Fact]
    public async Task TheRemedyThatIsNamedHelps()
    {
        Qemu.Require();
        (string[] images, _) = await MakeBrokenChainAsync();
        string top = images[^1];
        ProcessResult check = await Support.Cli.RunAsync("chain", "check", top);
        Assert.Contains($"remedy: qcow2bitmaps chain populate {top} a:", check.Output, StringComparison.Ordinal);
        ProcessResult json = await Support.Cli.RunAsync("chain", "check", "--output", "json", top);
        Assert.Contains("\"remedy\": \"populate\"", json.Output, StringComparison.Ordinal);
        await RunAsync("chain", "populate", top, "a");
        Assert.DoesNotContain("remedy", await RunAsync("chain", "check", top), StringComparison.Ordinal);

        // Nothing but consent makes this one valid.
        string only = _folder.File("it's one.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", only, "1M");
        await Qemu.ImgOkAsync("bitmap", "--add", only, "b c");
        await new QemuNode(only).CrashAsync();
        check = await Support.Cli.RunAsync("chain", "check", only);
        Assert.Contains($"remedy: qcow2bitmaps chain delete '{only.Replace("'", @"'\''", StringComparison.Ordinal)}' 'b c', and a full backup", check.Output, StringComparison.Ordinal);
        Assert.Equal(1, (await Support.Cli.RunAsync("chain", "populate", only, "b c")).ExitCode);
        await RunAsync("chain", "delete", only, "b c");
        await RunAsync("chain", "check", only);
    }

    [Theory]
    [InlineData("", false)]
    [InlineData("-d", false)]
    [InlineData("-b", true)]
    public async Task CommitIsThatOfQemuAndCarriesBitmaps(string option, bool namesBase)
    {
        Qemu.Require();
        string[] ours = await MakeChainAsync("ours");
        string[] theirs = await MakeChainAsync("theirs");
        byte[] view = await ReadAsync(ours[^1]);
        string[] arguments = [.. option.Length == 0 ? [] : namesBase ? new[] { option, "BASE" } : [option]];

        ProcessResult expected = await Qemu.ImgAsync(["commit", .. arguments.Select(a => a == "BASE" ? theirs[0] : a), theirs[^1]]);
        ProcessResult actual = await Support.Cli.RunAsync(["commit", .. arguments.Select(a => a == "BASE" ? ours[0] : a), ours[^1]]);

        Assert.Equal((expected.ExitCode, expected.Output), (actual.ExitCode, actual.Output));
        for (int i = 0; i < ours.Length; i++)
        {
            Assert.Equal(await ReadAsync(theirs[i]), await ReadAsync(ours[i]));
            Assert.Equal(0, (await Qemu.ImgAsync("check", ours[i])).ExitCode);
        }

        Assert.Equal(view, await ReadAsync(ours[^1]));
        string target = namesBase ? ours[0] : ours[^2];
        await RunAsync("chain", "check", target);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(target, cancellationToken: Token);
        Assert.Contains(image.Bitmaps, static bitmap => bitmap.Name == "top");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(-1)]
    public async Task RebaseIsThatOfQemu(int target)
    {
        Qemu.Require();
        string[] ours = await MakeChainAsync("ours");
        string[] theirs = await MakeChainAsync("theirs");
        byte[] view = await ReadAsync(ours[^1]);
        string[] To(string[] images) => target < 0 ? ["-b", ""] : ["-b", Path.GetFileName(images[target]), "-F", "qcow2"];

        ProcessResult expected = await Qemu.RunAsync("qemu-img", _folder.Path, ["rebase", .. To(theirs), theirs[^1]]);
        ProcessResult actual = await Support.Cli.RunAsync(["rebase", .. To(ours), ours[^1]]);

        Assert.Equal((expected.ExitCode, expected.Output), (actual.ExitCode, actual.Output + actual.Error));
        Assert.Equal(view, await ReadAsync(ours[^1]));
        Assert.Equal(await ReadAsync(theirs[^1]), await ReadAsync(ours[^1]));
        Assert.Equal(0, (await Qemu.ImgAsync("check", ours[^1])).ExitCode);
        await RunAsync("chain", "check", ours[^1]);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(ours[^1], cancellationToken: Token);
        Assert.Equal(target < 0 ? null : Path.GetFileName(ours[target]), image.BackingFile);
    }

    /// <summary>What a standalone image does not have reads as zeros, also over a backing file that has something there. Version 2 has no entries for that.</summary>
    [Theory]
    [InlineData("0.10", "")]
    [InlineData("1.1", "")]
    [InlineData("0.10", "old.qcow2")]
    public async Task ZerosStayZerosOverANewBackingFile(string compat, string old)
    {
        Qemu.Require();
        string other = _folder.File("other.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", other, "4M");
        await Qemu.IoOkAsync(other, "write -P 77 0 4M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", _folder.File("old.qcow2"), "2M");
        string image = _folder.File("image.qcow2");
        await Qemu.ImgOkAsync(["create", "-q", "-f", "qcow2", "-o", $"compat={compat},cluster_size=4k", .. old.Length == 0 ? Array.Empty<string>() : ["-b", old, "-F", "qcow2"], image, "4M"]);
        await Qemu.IoOkAsync(image, "write -P 1 100k 300k", "write -z 1M 64k", "write -P 2 3000k 10k");
        string theirs = _folder.File("theirs.qcow2");
        File.Copy(image, theirs);
        byte[] view = await ReadAsync(image);

        await RunAsync("rebase", "-b", "other.qcow2", "-F", "qcow2", image);

        Assert.Equal(view, await ReadAsync(image));
        Assert.Equal(0, (await Qemu.ImgAsync("check", image)).ExitCode);
        await Qemu.RunAsync("qemu-img", _folder.Path, "rebase", "-b", "other.qcow2", "-F", "qcow2", theirs);
        // qemu-img 7.2 lets the new backing file show through in version 2, where there was none before.
        Assert.Equal(compat == "0.10" && old.Length == 0 ? 1 : 0, (await Qemu.ImgAsync("compare", theirs, image)).ExitCode);
    }

    /// <summary>Sizes tell that something is hidden only as long as the longer image is there: what the active image shows as zeros over a shorter one stays marked when that leaves.</summary>
    [Theory]
    [InlineData("commit")]
    [InlineData("pull")]
    [InlineData("rebase")]
    public async Task WhatAShorterImageHidesStaysDirtyWhenTheLongerOneLeaves(string operation)
    {
        Qemu.Require();
        (string Name, string Size)[] images = [("base.qcow2", "1M"), ("long.qcow2", "4M"), ("short.qcow2", "1M"), ("active.qcow2", "4M")];
        string? below = null;
        foreach ((string name, string size) in images)
        {
            await Qemu.ImgOkAsync(["create", "-q", "-f", "qcow2", .. below is null ? Array.Empty<string>() : ["-b", below, "-F", "qcow2"], _folder.File(name), size]);
            await Qemu.ImgOkAsync("bitmap", "--add", _folder.File(name), "a");
            below = name;
        }

        // It was there while that image was the active one, and is no more.
        await Qemu.IoOkAsync(_folder.File("long.qcow2"), "write -P 1 2M 64k");
        string active = _folder.File("active.qcow2");
        byte[] view = await ReadAsync(active);
        async Task<bool> CoversAsync()
        {
            await using ImageChain chain = await ImageChain.OpenAsync(active, cancellationToken: Token);
            Assert.True((await chain.JudgeBitmapAsync("a", cancellationToken: Token)).IsValid);
            List<DirtyExtent> extents = await chain.ReadExtentsAsync("a", cancellationToken: Token).ToListAsync(Token);
            return extents.Exists(static extent => extent.OffsetBytes <= 2 << 20 && extent.EndBytes >= (2 << 20) + 65536);
        }

        Assert.True(await CoversAsync());
        await RunAsync(
        [
            "chain", operation, "--active", active,
            .. operation switch
            {
                "commit" => (string[])[_folder.File("short.qcow2"), _folder.File("base.qcow2")],
                "pull" => ["--base", _folder.File("base.qcow2"), _folder.File("short.qcow2")],
                _ => ["-b", "base.qcow2", "-F", "qcow2", _folder.File("short.qcow2")],
            },
        ]);
        Assert.True(await CoversAsync());
        Assert.Equal(view, await ReadAsync(active));
    }

    [Fact]
    public async Task FlatteningKeepsAllBits()
    {
        Qemu.Require();
        string[] images = await MakeChainAsync("ours");
        string flat = _folder.File("flat.qcow2");

        await RunAsync("chain", "flatten", images[^1], flat);

        Assert.Equal(await ReadAsync(images[^1]), await ReadAsync(flat));
        await using ImageChain chain = await ImageChain.OpenAsync(images[^1], cancellationToken: Token);
        await using ImageChain one = await ImageChain.OpenAsync(flat, cancellationToken: Token);
        Assert.Single(one.Layers);
        foreach (string name in new[] { "all", "top" })
        {
            Assert.Equal(await chain.ReadExtentsAsync(name, cancellationToken: Token).ToListAsync(Token), await one.ReadExtentsAsync(name, cancellationToken: Token).ToListAsync(Token));
        }
    }

    [Fact]
    public async Task WhatIsPulledOverAGapIsMarkedOrDisables()
    {
        Qemu.Require();
        foreach (string policy in new[] { "mark", "disable" })
        {
            (string[] images, byte[] atCheckpoint) = await MakeGapAsync(policy);
            byte[] view = await ReadAsync(images[^1]);
            await RunAsync("chain", "pull", "--base", images[0], "--gaps", policy, images[^1]);
            Assert.Equal(view, await ReadAsync(images[^1]));
            await using ImageChain chain = await ImageChain.OpenAsync(images[^1], cancellationToken: Token);
            Assert.Equal(2, chain.Layers.Count);
            BitmapVerdict verdict = await chain.JudgeBitmapAsync("a", cancellationToken: Token);
            Assert.Equal(policy == "mark", verdict.IsValid);
            if (verdict.IsValid)
            {
                var bits = new DirtyBitmap(view.Length, 65536);
                await foreach (DirtyExtent extent in chain.ReadExtentsAsync("a", cancellationToken: Token))
                {
                    bits.Set(extent.OffsetBytes, extent.LengthBytes);
                }

                for (int at = 0; at < view.Length; at += 512)
                {
                    Assert.True(bits.IsDirty(at) || view.AsSpan(at, 512).SequenceEqual(atCheckpoint.AsSpan(at, 512)), $"the change at {at} is missed");
                }
            }
        }
    }

    [Fact]
    public async Task WhatADiskGainsIsMarked()
    {
        Qemu.Require();
        string below = _folder.File("below.qcow2");
        string image = _folder.File("short.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", below, "3M");
        await Qemu.IoOkAsync(below, "write -P 1 0 3M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", image, "1M");
        await Qemu.ImgOkAsync("bitmap", "--add", "-g", "4k", image, "a");
        await Qemu.ImgOkAsync("bitmap", "--add", "--disable", image, "off");

        await RunAsync("resize", image, "5M");

        await using Qcow2Image resized = await Qcow2Image.OpenAsync(image, cancellationToken: Token);
        Assert.Equal([new DirtyExtent(1 << 20, 4 << 20, true)], [.. (await resized.Bitmaps.LoadAsync("a", cancellationToken: Token)).DirtyExtents()]);
        Assert.True((await resized.Bitmaps.LoadAsync("off", cancellationToken: Token)).IsClean);
        byte[] view = await ReadAsync(image);
        Assert.True(view.AsSpan(0, 1 << 20).IndexOfAnyExcept((byte)1) < 0 && view.AsSpan(1 << 20).IndexOfAnyExcept((byte)0) < 0);
        Assert.Equal(0, (await Qemu.ImgAsync("check", image)).ExitCode);
    }

    [Fact]
    public async Task NamesWithColonsAndFilesOfOthersAreNoTrouble()
    {
        Qemu.Require();
        string active = _folder.File("a:1.qcow2");
        string overlay = _folder.File("overlay.qcow2");
        string other = _folder.File("overlay.qcow2.new");
        await File.WriteAllTextAsync(other, "not ours", Token);
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "file:" + active, "1M");

        await RunAsync("chain", "snapshot", active, overlay);

        Assert.Equal("not ours", await File.ReadAllTextAsync(other, Token));
        await RunAsync("chain", "check", overlay);
        Assert.Equal(0, (await Qemu.ImgAsync("check", overlay)).ExitCode);
    }

    private static async Task<string> RunAsync(params string[] arguments)
    {
        ProcessResult result = await Support.Cli.RunAsync(arguments);
        Assert.True(result.ExitCode == 0, $"{string.Join(' ', arguments)}: {result.Error}");
        return result.Output;
    }

    private async Task<byte[]> ReadAsync(string image)
    {
        string raw = _folder.File("view.raw");
        await Qemu.ImgOkAsync("convert", "-O", "raw", image, raw);
        return await File.ReadAllBytesAsync(raw, Token);
    }

    /// <summary>Three images that all hold bitmap "all"; the top one holds "top" too.</summary>
    private async Task<string[]> MakeChainAsync(string name)
    {
        string[] images = [.. Enumerable.Range(0, 3).Select(i => _folder.File(string.Create(CultureInfo.InvariantCulture, $"{name}-{i}.qcow2")))];
        for (int i = 0; i < images.Length; i++)
        {
            string[] backing = i == 0 ? [] : ["-b", Path.GetFileName(images[i - 1]), "-F", "qcow2"];
            await Qemu.ImgOkAsync(["create", "-q", "-f", "qcow2", .. backing, images[i], i == 0 ? "3M" : "4M"]);
            await Qemu.ImgOkAsync("bitmap", "--add", images[i], "all");
            await Qemu.IoOkAsync(images[i], $"write -P {i + 1} {i * 512}k 1M", $"write -z {(i * 512) + 100}k 64k", $"write -P {i + 9} 2900k 100k");
        }

        await Qemu.ImgOkAsync("bitmap", "--add", images[^1], "top");
        await Qemu.IoOkAsync(images[^1], "write -P 99 2M 64k");
        return images;
    }

    /// <summary>A checkpoint in the base, an overlay that QEMU crashed with, and an overlay without bitmaps.</summary>
    private async Task<(string[] Images, byte[] AtCheckpoint)> MakeBrokenChainAsync()
    {
        string[] images = [_folder.File("base.qcow2"), _folder.File("mid.qcow2"), _folder.File("top.qcow2")];
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", images[0], "8M");
        await Qemu.IoOkAsync(images[0], "write -P 1 0 2M");
        await Qemu.ImgOkAsync("bitmap", "--add", images[0], "a");
        byte[] atCheckpoint = await ReadAsync(images[0]);
        await Qemu.IoOkAsync(images[0], "write -P 2 1M 128k");
        await RunAsync("chain", "snapshot", images[0], images[1]);
        await Qemu.IoOkAsync(images[1], "write -P 3 4M 64k", "write -z 0 64k");
        await new QemuNode(images[1]).CrashAsync();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", images[2]);
        await Qemu.IoOkAsync(images[2], "write -P 4 5M 64k", "discard 1M 64k");
        return (images, atCheckpoint);
    }

    /// <summary>Bitmap "a" in the base and in the top image, and none between.</summary>
    private async Task<(string[] Images, byte[] AtCheckpoint)> MakeGapAsync(string name)
    {
        string[] images = [_folder.File(name + "-base.qcow2"), _folder.File(name + "-mid.qcow2"), _folder.File(name + "-top.qcow2")];
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", images[0], "8M");
        await Qemu.ImgOkAsync("bitmap", "--add", images[0], "a");
        byte[] atCheckpoint = await ReadAsync(images[0]);
        await Qemu.IoOkAsync(images[0], "write -P 2 1M 128k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", Path.GetFileName(images[0]), "-F", "qcow2", images[1]);
        await Qemu.IoOkAsync(images[1], "write -P 3 4M 64k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", Path.GetFileName(images[1]), "-F", "qcow2", images[2]);
        await Qemu.ImgOkAsync("bitmap", "--add", images[2], "a");
        await Qemu.IoOkAsync(images[2], "write -P 5 6M 64k");
        return (images, atCheckpoint);
    }
}
