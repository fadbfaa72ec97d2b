using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>The commands on chains, on chains that QEMU made.</summary>
public sealed class ChainCommandTests : IDisposable
{
    private readonly TempFolder _folder = TempFolder.InMemory();
    private readonly CommandChains _chains;

    public ChainCommandTests() => _chains = new CommandChains(_folder);

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

        await Support.Cli.OkAsync("chain", "snapshot", active, overlay);

        Assert.Equal(before, await File.ReadAllBytesAsync(active, Token));
        await Qemu.IoOkAsync(overlay, "write -P 7 1M 4k");
        Assert.Equal(0, (await Qemu.ImgAsync("check", overlay)).ExitCode);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(overlay, cancellationToken: Token);
        await using Qcow2Image below = await Qcow2Image.OpenAsync(active, cancellationToken: Token);
        Assert.Equal("active.qcow2", image.BackingFile);
        Assert.Equal(
            (below.ClusterSizeBytes, below.Header.HasExtendedL2, below.VirtualSizeBytes),
            (image.ClusterSizeBytes, image.Header.HasExtendedL2, image.VirtualSizeBytes));
        Assert.Equal(
            [("a", below.Bitmaps[0].GranularityBytes, BitmapState.Recording), ("fine", 512L, BitmapState.Recording)],
            image.Bitmaps.Select(static b => (b.Name, b.GranularityBytes, b.State)));
        Assert.Equal(
            [new DirtyExtent(1 << 20, 4096, true)], [.. (await image.Bitmaps.LoadAsync("fine", cancellationToken: Token)).Extents()]);
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
        await Support.Cli.OkAsync("chain", "snapshot", "-f", "raw", active, overlay);
        Assert.Contains(
            "\"backing-filename-format\": \"raw\"", await Qemu.ImgOkAsync("info", "--output=json", overlay), StringComparison.Ordinal);
        Assert.Equal(0, (await Qemu.ImgAsync("compare", "-f", "raw", "-F", "qcow2", active, overlay)).ExitCode);
    }

    /// <summary>
    /// Sizes tell that something is hidden only as long as the longer image is there: what the active image shows as zeros over a
    /// shorter one stays marked when that leaves.
    /// </summary>
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
            await Qemu.ImgOkAsync(
                [
                    "create",
                    "-q",
                    "-f",
                    "qcow2",
                    .. below is null ? Array.Empty<string>() : ["-b", below, "-F", "qcow2"],
                    _folder.File(name),
                    size,
                ]);
            await Qemu.ImgOkAsync("bitmap", "--add", _folder.File(name), "a");
            below = name;
        }

        // It was there while that image was the active one, and is no more.
        await Qemu.IoOkAsync(_folder.File("long.qcow2"), "write -P 1 2M 64k");
        string active = _folder.File("active.qcow2");
        byte[] view = await _chains.ReadAsync(active);
        async Task<bool> CoversAsync()
        {
            await using ImageChain chain = await ImageChain.OpenAsync(active, cancellationToken: Token);
            Assert.True((await chain.JudgeBitmapAsync("a", cancellationToken: Token)).IsValid);
            List<DirtyExtent> extents = await chain.ReadExtentsAsync("a", cancellationToken: Token).ToListAsync(Token);
            return extents.Exists(static extent => extent.OffsetBytes <= 2 << 20 && extent.EndBytes >= (2 << 20) + 65536);
        }

        Assert.True(await CoversAsync());
        await Support.Cli.OkAsync(
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
        Assert.Equal(view, await _chains.ReadAsync(active));
    }

    [Fact]
    public async Task FlatteningKeepsAllBits()
    {
        Qemu.Require();
        string[] images = await _chains.MakeChainAsync("ours");
        string flat = _folder.File("flat.qcow2");

        await Support.Cli.OkAsync("chain", "flatten", images[^1], flat);

        Assert.Equal(await _chains.ReadAsync(images[^1]), await _chains.ReadAsync(flat));
        await using ImageChain chain = await ImageChain.OpenAsync(images[^1], cancellationToken: Token);
        await using ImageChain one = await ImageChain.OpenAsync(flat, cancellationToken: Token);
        Assert.Single(one.Layers);
        foreach (string name in new[] { "all", "top" })
        {
            Assert.Equal(
                await chain.ReadExtentsAsync(name, cancellationToken: Token).ToListAsync(Token),
                await one.ReadExtentsAsync(name, cancellationToken: Token).ToListAsync(Token));
        }
    }

    [Fact]
    public async Task WhatIsPulledOverAGapIsMarkedOrDisables()
    {
        Qemu.Require();
        foreach (string policy in new[] { "mark", "disable" })
        {
            (string[] images, byte[] atCheckpoint) = await MakeGapAsync(policy);
            byte[] view = await _chains.ReadAsync(images[^1]);
            await Support.Cli.OkAsync("chain", "pull", "--base", images[0], "--gaps", policy, images[^1]);
            Assert.Equal(view, await _chains.ReadAsync(images[^1]));
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
                    Assert.True(
                        bits.IsDirty(at) || view.AsSpan(at, 512).SequenceEqual(atCheckpoint.AsSpan(at, 512)),
                        $"the change at {at} is missed");
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

        await Support.Cli.OkAsync("resize", image, "5M");

        await using Qcow2Image resized = await Qcow2Image.OpenAsync(image, cancellationToken: Token);
        Assert.Equal(
            [new DirtyExtent(1 << 20, 4 << 20, true)],
            [.. (await resized.Bitmaps.LoadAsync("a", cancellationToken: Token)).Extents()]);
        Assert.True((await resized.Bitmaps.LoadAsync("off", cancellationToken: Token)).IsClean);
        byte[] view = await _chains.ReadAsync(image);
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

        await Support.Cli.OkAsync("chain", "snapshot", active, overlay);

        Assert.Equal("not ours", await File.ReadAllTextAsync(other, Token));
        await Support.Cli.OkAsync("chain", "check", overlay);
        Assert.Equal(0, (await Qemu.ImgAsync("check", overlay)).ExitCode);
    }

    /// <summary>Bitmap "a" in the base and in the top image, and none between.</summary>
    private async Task<(string[] Images, byte[] AtCheckpoint)> MakeGapAsync(string name)
    {
        string[] images = [_folder.File(name + "-base.qcow2"), _folder.File(name + "-mid.qcow2"), _folder.File(name + "-top.qcow2")];
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", images[0], "8M");
        await Qemu.ImgOkAsync("bitmap", "--add", images[0], "a");
        byte[] atCheckpoint = await _chains.ReadAsync(images[0]);
        await Qemu.IoOkAsync(images[0], "write -P 2 1M 128k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", Path.GetFileName(images[0]), "-F", "qcow2", images[1]);
        await Qemu.IoOkAsync(images[1], "write -P 3 4M 64k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", Path.GetFileName(images[1]), "-F", "qcow2", images[2]);
        await Qemu.ImgOkAsync("bitmap", "--add", images[2], "a");
        await Qemu.IoOkAsync(images[2], "write -P 5 6M 64k");
        return (images, atCheckpoint);
    }
}
