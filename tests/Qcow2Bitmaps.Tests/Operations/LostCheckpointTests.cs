using System.Text.Json.Nodes;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>The usual crash: QEMU is killed, and its newest checkpoint was in no image yet.</summary>
public sealed class LostCheckpointTests : IDisposable
{
    private const int DiskBytes = 8 << 20;

    private readonly TempFolder _folder = TempFolder.InMemory();
    private readonly CommandChains _chains;

    public LostCheckpointTests() => _chains = new CommandChains(_folder);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string Top => _folder.File("top.qcow2");

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task TheUsualCrashIsExplainedAndMendedFromAnOlderCheckpoint()
    {
        Qemu.Require();
        byte[] atLost = await CrashAsync();

        ProcessResult lost = await Support.Cli.RunAsync("chain", "check", "--bitmap", "lost", Top);
        Assert.Equal(2, lost.ExitCode);
        Assert.Contains("no image of the chain holds bitmap 'lost': flags in-use show that image 0", lost.Output, StringComparison.Ordinal);
        Assert.Contains("keeps a new bitmap in memory until it closes the image", lost.Output, StringComparison.Ordinal);
        Assert.Contains(
            $"remedy: qcow2bitmaps chain populate {Top} lost --since OLDER, once OLDER, a checkpoint that was made before it ('old', "
            + $"if that is older), has been rebuilt",
            lost.Output, StringComparison.Ordinal);
        // An older one that is not whole says first how it becomes so; nothing is written.
        byte[] crashed = await File.ReadAllBytesAsync(Top, Token);
        ProcessResult tooEarly = await Support.Cli.RunAsync("chain", "populate", Top, "lost", "--since", "old");
        Assert.Equal(1, tooEarly.ExitCode);
        Assert.Contains($"'old' is not valid (inconsistent)", tooEarly.Error, StringComparison.Ordinal);
        Assert.Contains($"remedy: qcow2bitmaps chain populate {Top} old:", tooEarly.Error, StringComparison.Ordinal);
        Assert.Equal(crashed, await File.ReadAllBytesAsync(Top, Token));

        await Support.Cli.OkAsync("chain", "populate", Top, "old");
        string rebuilt = await Support.Cli.OkAsync("chain", "populate", Top, "lost", "--since", "old");
        Assert.Contains("changed since 'old', which must have been added, and last cleared, before it", rebuilt, StringComparison.Ordinal);
        await Support.Cli.OkAsync("chain", "check", Top);
        Assert.StartsWith("No errors", await Qemu.ImgOkAsync("check", Top), StringComparison.Ordinal);

        byte[] now = await _chains.ReadAsync(Top);
        await using ImageChain chain = await ImageChain.OpenAsync(Top, cancellationToken: Token);
        var bits = new DirtyBitmap(DiskBytes, 512);
        await foreach (DirtyExtent extent in chain.ReadExtentsAsync("lost", cancellationToken: Token))
        {
            bits.Set(extent.OffsetBytes, extent.LengthBytes);
        }

        Assert.All(
            Enumerable.Range(0, DiskBytes / 512),
            i => Assert.True(
                bits.IsDirty(i * 512L) || now.AsSpan(i * 512, 512).SequenceEqual(atLost.AsSpan(i * 512, 512)),
                $"the change at {i * 512} is missed"));
        Assert.True(bits.Count().Bytes < DiskBytes / 2);
    }

    [Fact]
    public async Task WhatCannotBeRebuiltSinceAnOlderOneIsRefusedAndNothingIsWritten()
    {
        Qemu.Require();
        await CrashAsync();
        await Support.Cli.OkAsync("chain", "populate", Top, "old");
        byte[] before = await File.ReadAllBytesAsync(Top, Token);

        await AssertRefusedAsync("holds bitmap 'old'", Top, "old", "--since", "old");
        await AssertRefusedAsync("'nobody' is not valid (missing-in-top): no image of the chain holds", Top, "lost", "--since", "nobody");
        await AssertRefusedAsync("--all-dirty does not go with it", Top, "lost", "--since", "old", "--all-dirty");
        await AssertRefusedAsync("--trust-birth does not go with it", Top, "lost", "--since", "old", "--trust-birth");
        await AssertRefusedAsync("(--since)", Top, "lost");
        Assert.Equal(before, await File.ReadAllBytesAsync(Top, Token));

        ProcessResult told = await Support.Cli.RunAsync("chain", "populate", "-p", Top, "lost", "--since", "old");
        Assert.Equal(0, told.ExitCode);
        Assert.Contains("To be done: Bitmap 'lost'", told.Error, StringComparison.Ordinal);
    }

    private static async Task AssertRefusedAsync(string reason, params string[] arguments)
    {
        ProcessResult refused = await Support.Cli.RunAsync(["chain", "populate", .. arguments]);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains(reason, refused.Error, StringComparison.Ordinal);
    }

    /// <summary>Kills a daemon that has made a checkpoint, in an overlay that carries an older one.</summary>
    /// <returns>What the guest saw when it was made.</returns>
    private async Task<byte[]> CrashAsync()
    {
        string below = _folder.File("base.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", below, $"{DiskBytes}");
        await Qemu.ImgOkAsync("bitmap", "--add", below, "old");
        await Qemu.IoOkAsync(below, "write -P 1 0 128k");
        await Support.Cli.OkAsync("chain", "snapshot", below, Top);
        await Qemu.IoOkAsync(Top, "write -P 2 1M 128k");
        byte[] atLost = await _chains.ReadAsync(Top);
        StorageDaemon daemon = await StorageDaemon.StartAsync(_folder, Top);
        await using (daemon)
        {
            await daemon.OkAsync("block-dirty-bitmap-add", new JsonObject { ["node"] = "disk", ["name"] = "lost", ["persistent"] = true });
            await daemon.IoAsync("write -P 3 2M 64k", "discard 1M 64k", "write -z 0 4k");
            await daemon.KillAsync();
        }

        return atLost;
    }
}
