using System.Diagnostics;
using System.Text.Json;
using Qcow2Bitmaps.Tests.Qmp;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>A process with recording sessions, killed with SIGKILL while one of them writes.</summary>
public sealed class KilledSessionTests
{
    private const long DiskBytes = 8 << 20;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>
    /// The server copies one session's disk to another's, which records that. What was flushed is there; bitmaps are
    /// inconsistent in every image, and can be rebuilt.
    /// </summary>
    [Theory]
    [InlineData(0)]
    [InlineData(300)]
    public async Task FlushedDataAreThereAndBitmapsAreInconsistentAndPopulateRecoversThem(int killedAfterMs)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string source = folder.File("n.qcow2");
        string target = folder.File("t.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", source, $"{DiskBytes}");
        await Qemu.IoOkAsync(source, "write -P 5 0 6M");
        await Qemu.ImgOkAsync("bitmap", "--add", source, "b");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", target, $"{DiskBytes}");
        await Qemu.IoOkAsync(target, "write -P 7 7M 256k");
        await Qemu.ImgOkAsync("bitmap", "--add", target, "b");
        await Qemu.ImgOkAsync("bitmap", "--add", "--disable", target, "off");
        byte[] before = await ReadAsync(target);
        using (Process process = Tool.Start(folder.Path, ["qmp", "--image", "n=" + source, "--image", "t=" + target]))
        using (var peer = new QmpPeer(process.StandardInput.BaseStream, process.StandardOutput.BaseStream))
        {
            await peer.GreetAsync();
            await peer.OkAsync("""{"execute":"block-dirty-bitmap-add","arguments":{"node":"t","name":"new","persistent":true}}""");
            await peer.OkAsync("""{"execute":"blockdev-backup","arguments":{"device":"n","target":"t","job-id":"one","sync":"top"}}""");
            await peer.EventAsync(static e => e.GetProperty("event").GetString() == "BLOCK_JOB_COMPLETED");
            await peer.OkAsync(
                """{"execute":"blockdev-backup","arguments":{"device":"t","target":"n","job-id":"two","sync":"full","speed":2000000}}""");
            await Task.Delay(killedAfterMs, Token);
            process.Kill();
            await process.WaitForExitAsync(Token);
            Assert.Equal(128 + 9, process.ExitCode);
        }

        // The first job was flushed before it completed.
        byte[] written = await ReadAsync(target);
        Assert.Equal(-1, written.AsSpan(0, 6 << 20).IndexOfAnyExcept((byte)5));
        Assert.True(written.AsSpan(7 << 20).SequenceEqual(before.AsSpan(7 << 20)));
        foreach (string image in new[] { source, target })
        {
            ProcessResult check = await Qemu.ImgAsync("check", image);
            Assert.True(check.ExitCode is 0 or 3, check.Output + check.Error);
        }

        await AssertAllInconsistentAsync(target, "b", "off");
        await AssertAllInconsistentAsync(source, "b");
        Assert.Equal(2, (await Support.Cli.RunAsync("chain", "check", target)).ExitCode);
        ProcessResult add = await Qemu.ImgAsync("bitmap", "--merge", "off", target, "b");
        Assert.Contains("inconsistent", add.Error, StringComparison.Ordinal);

        ProcessResult populated = await Support.Cli.RunAsync("chain", "populate", "--all-dirty", target, "b");
        Assert.True(populated.ExitCode == 0, populated.Error);
        await using (ImageChain chain = await ImageChain.OpenAsync(target, cancellationToken: Token))
        {
            Assert.True((await chain.JudgeBitmapAsync("b", cancellationToken: Token)).IsValid);
            DirtyBitmap bits = await chain.Layers[0].RequireImage().Bitmaps.LoadAsync("b", cancellationToken: Token);
            for (int at = 0; at < DiskBytes; at += 65536)
            {
                Assert.True(
                    bits.IsDirty(at) || written.AsSpan(at, 65536).SequenceEqual(before.AsSpan(at, 65536)),
                    $"byte {at} has changed and is not marked");
            }
        }

        // And QEMU goes on with it.
        await Qemu.IoOkAsync(target, "write -P 9 0 64k");
        using JsonDocument info = JsonDocument.Parse(await Qemu.ImgOkAsync("info", "--output=json", target));
        JsonElement b = info.RootElement.GetProperty("format-specific")
            .GetProperty("data")
            .GetProperty("bitmaps")
            .EnumerateArray()
            .Single(static bitmap => bitmap.GetProperty("name").GetString() == "b");
        Assert.Equal(["auto"], b.GetProperty("flags").EnumerateArray().Select(static flag => flag.GetString()));
    }

    private static async Task AssertAllInconsistentAsync(string image, params string[] names)
    {
        using JsonDocument info = JsonDocument.Parse(await Qemu.ImgOkAsync("info", "--output=json", image));
        JsonElement[] bitmaps = [.. info.RootElement.GetProperty("format-specific")
            .GetProperty("data")
            .GetProperty("bitmaps")
            .EnumerateArray()];
        Assert.Equal(names, bitmaps.Select(static bitmap => bitmap.GetProperty("name").GetString()));
        Assert.All(
            bitmaps,
            static bitmap =>
                Assert.Contains("in-use", bitmap.GetProperty("flags").EnumerateArray().Select(static flag => flag.GetString())));
    }

    private static async Task<byte[]> ReadAsync(string path)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(path, cancellationToken: Token);
        var disk = new byte[DiskBytes];
        await chain.ReadAsync(0, disk, Token);
        return disk;
    }
}
