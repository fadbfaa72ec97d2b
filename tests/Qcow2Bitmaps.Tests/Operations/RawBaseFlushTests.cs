using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>A raw base on a disk that loses what was not flushed.</summary>
public sealed class RawBaseFlushTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task WhatIsCommittedIsOnDiskBeforeAnythingRefersToIt()
    {
        Qemu.Require();
        CrashChain images = await MakeAsync();
        ChainView before = await ChainView.ReadAsync(images, "top");

        await CommitAsync(images, top: 1);

        int stops = 0;
        bool hasSwitched = false;
        foreach ((Dictionary<string, byte[]> content, string description) in images.Stops(seed: 1, samples: 8))
        {
            ChainView now = await ChainView.ReadAsync(new CrashChain(content), "top");
            before.AssertKept(now, description);
            hasSwitched |= now.Names.Count == 2;
            stops++;
        }

        Assert.True(hasSwitched && stops > 10, $"{stops} stops");
    }

    [Fact]
    public async Task WhatIsCommittedIsOnDiskWhenTheCommitEnds()
    {
        Qemu.Require();
        CrashChain images = await MakeAsync();
        ChainView before = await ChainView.ReadAsync(images, "top");

        await CommitAsync(images, top: 0);

        // The committed images may be removed now.
        ChainView kept = await ChainView.ReadAsync(new CrashChain(images.Flushed), "base");
        before.AssertKept(kept, "what was flushed");
    }

    private static async Task CommitAsync(CrashChain images, int top)
    {
        await using ImageChain chain = await images.OpenForCommitAsync("top", top, 2);
        await new ChainCommit(chain, top, 2).RunAsync(cancellationToken: Token);
    }

    /// <summary>Two images of 64 KiB on a shorter raw one; the base's size and data change.</summary>
    private static async Task<CrashChain> MakeAsync()
    {
        using var folder = TempFolder.InMemory();
        await File.WriteAllBytesAsync(folder.File("base"), [.. Enumerable.Repeat((byte)7, 48 << 10)], Token);
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "-b", "base", "-F", "raw", folder.File("mid"), "64k");
        await Qemu.ImgOkAsync(
            "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "-b", "mid", "-F", "qcow2", folder.File("top"), "64k");
        await Qemu.IoOkAsync(folder.File("mid"), "write -P 1 8k 8k", "write -z 32k 4k", "write -P 2 60k 4k");
        await Qemu.IoOkAsync(folder.File("top"), "write -P 3 20k 4k");
        var images = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (string name in new[] { "base", "mid", "top" })
        {
            images.Add(name, await File.ReadAllBytesAsync(folder.File(name), Token));
        }

        return new CrashChain(images);
    }
}
