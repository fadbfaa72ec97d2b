using System.Security.Cryptography;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>Images that have overlays, that are links, and that somebody began to remove.</summary>
public sealed class ChainOverlayTests : IDisposable
{
    private readonly TempFolder _folder = TempFolder.InMemory();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("mid2.qcow2", "base.qcow2", "active.qcow2")]
    [InlineData("mid2.qcow2", "mid1.qcow2", "active.qcow2")]
    [InlineData("active.qcow2", "base.qcow2", "other.qcow2")]
    public async Task ACommitThatAnOverlayNeedsIsRefused(string top, string target, string overlay)
    {
        Qemu.Require();
        await MakeChainAsync();
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", _folder.File("mid1.qcow2"), "-F", "qcow2", _folder.File("other.qcow2"));
        (string Name, string Sha256)[] before = await ReadFilesAsync();

        ProcessResult refused = await Support.Cli.RunAsync("chain", "commit", _folder.File(top), _folder.File(target));

        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("as its backing file and is not part of the chain", refused.Error, StringComparison.Ordinal);
        Assert.Contains("--active", refused.Error, StringComparison.Ordinal);
        Assert.True(
            refused.Error.Contains(overlay, StringComparison.Ordinal) || refused.Error.Contains("other.qcow2", StringComparison.Ordinal),
            refused.Error);
        Assert.Equal(before, await ReadFilesAsync());
    }

    [Fact]
    public async Task WhoConsentsMayOrphanAnOverlay()
    {
        Qemu.Require();
        await MakeChainAsync();
        await Support.Cli.OkAsync("chain", "commit", "--ignore-overlays", _folder.File("mid2.qcow2"), _folder.File("mid1.qcow2"));
        Assert.False(Path.Exists(_folder.File("mid2.qcow2")));
    }

    [Fact]
    public async Task WhatIsKeptMayHaveAnOverlay()
    {
        Qemu.Require();
        await MakeChainAsync();
        byte[] view = await ReadAsync("active.qcow2");
        await Support.Cli.OkAsync("chain", "commit", "--keep", _folder.File("mid2.qcow2"), _folder.File("mid1.qcow2"));
        Assert.Equal(view, await ReadAsync("active.qcow2"));
    }

    [Theory]
    [InlineData("pull")]
    [InlineData("rebase")]
    public async Task AGapBelowTheActiveImageStays(string verb)
    {
        Qemu.Require();
        // Bitmap "a" is in the base and in the active image, and in none between.
        await MakeChainAsync();
        await Qemu.ImgOkAsync("bitmap", "--add", _folder.File("base.qcow2"), "a");
        await Qemu.ImgOkAsync("bitmap", "--add", _folder.File("active.qcow2"), "a");
        byte[] view = await ReadAsync("active.qcow2");
        string top = _folder.File("mid1.qcow2");
        string[] command = verb == "pull" ? ["chain", "pull"] : ["chain", "rebase", "-b", ""];

        ProcessResult refused = await Support.Cli.RunAsync([.. command, top]);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("mid2.qcow2", refused.Error, StringComparison.Ordinal);
        Assert.Contains("--active", refused.Error, StringComparison.Ordinal);

        await Support.Cli.OkAsync([.. command, "--active", _folder.File("active.qcow2"), top]);

        Assert.Equal(view, await ReadAsync("active.qcow2"));
        await using ImageChain chain = await ImageChain.OpenAsync(_folder.File("active.qcow2"), cancellationToken: Token);
        Assert.Equal(3, chain.Layers.Count);
        Assert.False((await chain.JudgeBitmapAsync("a", cancellationToken: Token)).IsValid);
        Assert.True(chain.Layers[2].RequireImage().Bitmaps.TryGet("a", out BitmapInfo? there));
        Assert.Equal(BitmapState.Disabled, there.State);
    }

    [Fact]
    public async Task WhereNoBitmapLeavesOverlaysDoNotMatter()
    {
        Qemu.Require();
        await MakeChainAsync();
        byte[] view = await ReadAsync("active.qcow2");
        await Support.Cli.OkAsync("chain", "pull", "--base", _folder.File("base.qcow2"), _folder.File("mid2.qcow2"));
        await Support.Cli.OkAsync("rebase", "-b", "", _folder.File("mid2.qcow2"));
        Assert.Equal(view, await ReadAsync("active.qcow2"));
    }

    [Theory]
    [InlineData(true, 0)]
    [InlineData(true, 1)]
    [InlineData(false, 1)]
    public async Task ACommitThatWasStoppedBeforeTheRemovalIsFinished(bool hasActive, int removed)
    {
        Qemu.Require();
        await MakeChainAsync();
        string[] mids = [_folder.File("mid1.qcow2"), _folder.File("mid2.qcow2")];
        if (!hasActive)
        {
            File.Delete(_folder.File("active.qcow2"));
        }

        byte[] view = await ReadAsync(hasActive ? "active.qcow2" : "mid2.qcow2");
        byte[][] contents = await Task.WhenAll(mids.Select(path => File.ReadAllBytesAsync(path, Token)));
        string[] command = [
            "chain",
            "commit",
            .. hasActive ? ["--active", _folder.File("active.qcow2")] : Array.Empty<string>(),
            mids[1],
            _folder.File("base.qcow2"),
        ];
        await Support.Cli.OkAsync(command);
        Assert.All(mids, static path => Assert.False(Path.Exists(path)));
        for (int i = removed; i < mids.Length; i++)
        {
            await File.WriteAllBytesAsync(mids[i], contents[i], Token);
        }

        await Support.Cli.OkAsync(command);

        Assert.All(mids, static path => Assert.False(Path.Exists(path)));
        Assert.Equal(view, await ReadAsync(hasActive ? "active.qcow2" : "base.qcow2"));
    }

    /// <summary>
    /// A commit that was stopped behind its end, and a base that was written since: running it again must not copy over that.
    /// </summary>
    [Theory]
    [InlineData(false, 0)]
    [InlineData(false, 1)]
    [InlineData(true, 0)]
    [InlineData(true, 1)]
    public async Task WhatWasWrittenToTheBaseSinceTheCommitIsKept(bool hasActive, int removed)
    {
        Qemu.Require();
        await MakeChainAsync();
        string[] mids = [_folder.File("mid1.qcow2"), _folder.File("mid2.qcow2")];
        if (!hasActive)
        {
            File.Delete(_folder.File("active.qcow2"));
        }

        byte[][] contents = await Task.WhenAll(mids.Select(path => File.ReadAllBytesAsync(path, Token)));
        string[] command = [
            "chain",
            "commit",
            .. hasActive ? ["--active", _folder.File("active.qcow2")] : Array.Empty<string>(),
            mids[1],
            _folder.File("base.qcow2"),
        ];
        await Support.Cli.OkAsync(command);
        // As it is when the tool is killed while it removes.
        for (int i = removed; i < mids.Length; i++)
        {
            await File.WriteAllBytesAsync(i == 1 ? mids[i] + ".committed" : mids[i], contents[i], Token);
        }

        string written = _folder.File(hasActive ? "active.qcow2" : "base.qcow2");
        await Qemu.IoOkAsync(written, "write -P 77 900k 64k");
        byte[] view = await ReadAsync(Path.GetFileName(written));

        await Support.Cli.OkAsync(command);

        Assert.Equal(view, await ReadAsync(Path.GetFileName(written)));
        Assert.Equal(
            hasActive ? ["active.qcow2", "base.qcow2"] : ["base.qcow2"],
            Directory.GetFiles(_folder.Path).Select(static path => Path.GetFileName(path)).Order(StringComparer.Ordinal));
    }

    /// <summary>The name that says that the commit is done comes before the first image goes, and goes last.</summary>
    [Fact]
    public async Task ACommitIsSaidToBeDoneBeforeImagesAreRemoved()
    {
        Qemu.Require();
        await MakeChainAsync();
        var events = new System.Collections.Concurrent.ConcurrentQueue<string>();
        using var last = new SemaphoreSlim(0);
        using var watcher = new FileSystemWatcher(_folder.Path);
        watcher.Renamed += (_, e) => events.Enqueue($"{e.OldName} is {e.Name}");
        watcher.Deleted += (_, e) =>
        {
            events.Enqueue($"{e.Name} goes");
            last.Release();
        };
        watcher.EnableRaisingEvents = true;

        await Support.Cli.OkAsync(
            "chain", "commit", "--active", _folder.File("active.qcow2"), _folder.File("mid2.qcow2"), _folder.File("base.qcow2"));

        for (int i = 0; i < 2; i++)
        {
            Assert.True(await last.WaitAsync(Patience.Limit, Token), string.Join(", ", events));
        }

        Assert.Equal(["mid2.qcow2 is mid2.qcow2.committed", "mid1.qcow2 goes", "mid2.qcow2.committed goes"], events);
    }

    [Fact]
    public async Task ACommitWhoseImagesAreGoneSaysWhatIsThere()
    {
        Qemu.Require();
        await MakeChainAsync();
        await Qemu.ImgOkAsync("bitmap", "--add", _folder.File("active.qcow2"), "a");
        string[] command = ["chain", "commit", _folder.File("active.qcow2"), _folder.File("base.qcow2")];
        await Support.Cli.OkAsync(command);
        (string Name, string Sha256)[] before = await ReadFilesAsync();

        ProcessResult again = await Support.Cli.RunAsync(command);

        Assert.Equal(1, again.ExitCode);
        foreach (string said
            in new[]
            {
                "active.qcow2' does not exist",
                "base.qcow2' is there, qcow2, 4194304 bytes, with the bitmaps 'a'",
                "nothing is left to do",
                "check",
            })
        {
            Assert.Contains(said, again.Error, StringComparison.Ordinal);
        }

        Assert.Equal(before, await ReadFilesAsync());
    }

    [Fact]
    public async Task RestsThatDoNotFitAreLeftAlone()
    {
        Qemu.Require();
        await MakeChainAsync();
        string active = _folder.File("active.qcow2");
        string rest = active + ".committed";
        string @base = _folder.File("base.qcow2");
        File.Copy(active, rest);
        (string Name, string Sha256)[] before = await ReadFilesAsync();
        ProcessResult refused = await Support.Cli.RunAsync("chain", "commit", active, @base);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("was interrupted before the image was removed", refused.Error, StringComparison.Ordinal);
        Assert.Equal(before, await ReadFilesAsync());

        // Something has an image as its backing file that would be removed.
        File.Move(active, _folder.File("other.qcow2"));
        before = await ReadFilesAsync();
        refused = await Support.Cli.RunAsync("chain", "commit", active, @base);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("nothing was removed", refused.Error, StringComparison.Ordinal);
        Assert.Equal(before, await ReadFilesAsync());

        // It has nothing to do with the base.
        File.Delete(_folder.File("other.qcow2"));
        string stranger = _folder.File("stranger.qcow2");
        File.Copy(@base, stranger);
        refused = await Support.Cli.RunAsync("chain", "commit", active, stranger);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("nothing was removed", refused.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WhatTheBaseDoesNotHaveIsNotRemoved()
    {
        Qemu.Require();
        await MakeChainAsync();
        string stranger = _folder.File("stranger.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", stranger);
        await Qemu.IoOkAsync(stranger, "write -P 55 2M 512");
        ProcessResult refused = await Support.Cli.RunAsync(
            "chain", "commit", "--active", _folder.File("active.qcow2"), stranger, _folder.File("base.qcow2"));
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("is not part of the chain", refused.Error, StringComparison.Ordinal);
        Assert.True(Path.Exists(stranger));

        // An image between is gone, and it was no commit that removed it.
        File.Delete(_folder.File("mid1.qcow2"));
        File.Delete(_folder.File("active.qcow2"));
        Assert.Equal(1, (await Support.Cli.RunAsync("chain", "commit", _folder.File("mid2.qcow2"), _folder.File("base.qcow2"))).ExitCode);
        Assert.True(Path.Exists(_folder.File("mid2.qcow2")));
    }

    [Fact]
    public async Task OfALinkOnlyTheLinkIsRemoved()
    {
        Qemu.Require();
        await MakeChainAsync();
        string link = _folder.File("link.qcow2");
        File.CreateSymbolicLink(link, _folder.File("active.qcow2"));
        byte[] view = await ReadAsync("active.qcow2");

        ProcessResult result = await Support.Cli.RunAsync("chain", "commit", link, _folder.File("mid2.qcow2"));

        Assert.Equal(0, result.ExitCode);
        Assert.Contains("was a symbolic link", result.Error, StringComparison.Ordinal);
        Assert.False(Path.Exists(link));
        Assert.True(Path.Exists(_folder.File("active.qcow2")));
        Assert.Equal(view, await ReadAsync("mid2.qcow2"));
    }

    [Fact]
    public async Task AHeaderWithoutRoomForTheBasesNameIsToldBeforeAnythingIsCopied()
    {
        Qemu.Require();
        string below = Directory.CreateDirectory(Path.Combine(_folder.Path, new string('x', 200))).FullName;
        string @base = Path.Combine(below, new string('b', 200));
        string mid = _folder.File("m");
        string active = _folder.File("active.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", @base, "1M");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", @base, "-F", "qcow2", mid);
        await Qemu.IoOkAsync(mid, "write -P 1 0 64k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "-b", "m", "-F", "qcow2", active);
        (string Name, string Sha256)[] before = await ReadFilesAsync();

        ProcessResult refused = await Support.Cli.RunAsync("chain", "commit", "--active", active, mid, @base);

        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("No space left in the file header", refused.Error, StringComparison.Ordinal);
        Assert.Equal(before, await ReadFilesAsync());
    }

    [Fact]
    public async Task ABitmapWhoseTableCannotBeReadIsRebuilt()
    {
        Qemu.Require();
        await MakeChainAsync();
        string active = _folder.File("active.qcow2");
        foreach (string image in new[] { "mid2.qcow2", "active.qcow2" })
        {
            await Qemu.ImgOkAsync("bitmap", "--add", "-g", "4k", _folder.File(image), "a");
        }

        await Qemu.IoOkAsync(active, "write -P 44 3M 4k");
        byte[] bytes = await File.ReadAllBytesAsync(active, Token);
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(active, cancellationToken: Token))
        {
            bytes[image.Bitmaps[0].TableOffset] = 0xff;
        }

        await File.WriteAllBytesAsync(active, bytes, Token);
        Assert.Equal(2, (await Support.Cli.RunAsync("chain", "check", active)).ExitCode);

        await Support.Cli.OkAsync("chain", "populate", active, "a");

        await Support.Cli.OkAsync("chain", "check", active);
        await using ImageChain chain = await ImageChain.OpenAsync(active, cancellationToken: Token);
        List<DirtyExtent> extents = await chain.ReadExtentsAsync("a", cancellationToken: Token).ToListAsync(Token);
        Assert.Contains(extents, static extent => extent.OffsetBytes <= 3 << 20 && extent.EndBytes >= (3 << 20) + 4096);
        // The cluster that the broken entry named belongs to nobody.
        Assert.Equal(3, (await Qemu.ImgAsync("check", active)).ExitCode);
    }

    private async Task<byte[]> ReadAsync(string name)
    {
        string raw = _folder.File("view.raw");
        await Qemu.ImgOkAsync("convert", "-f", "qcow2", "-O", "raw", _folder.File(name), raw);
        byte[] view = await File.ReadAllBytesAsync(raw, Token);
        File.Delete(raw);
        return view;
    }

    private async Task<(string Name, string Sha256)[]> ReadFilesAsync() =>
        await Task.WhenAll(
            Directory.GetFiles(_folder.Path).Order(StringComparer.Ordinal).Select(
                static async path => (path, Convert.ToHexString(SHA256.HashData(await File.ReadAllBytesAsync(path, Token))))));

    /// <summary>Four images with data and without bitmaps.</summary>
    private async Task MakeChainAsync()
    {
        string? below = null;
        int value = 1;
        foreach (string name in new[] { "base.qcow2", "mid1.qcow2", "mid2.qcow2", "active.qcow2" })
        {
            await Qemu.ImgOkAsync(
                [
                    "create",
                    "-q",
                    "-f",
                    "qcow2",
                    .. below is null ? Array.Empty<string>() : ["-b", below, "-F", "qcow2"],
                    _folder.File(name),
                    "4M",
                ]);
            await Qemu.IoOkAsync(_folder.File(name), $"write -P {value} {value * 300}k 500k");
            (below, value) = (name, value + 1);
        }
    }
}
