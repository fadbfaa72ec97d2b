using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>A rebase onto another disk's image that holds a bitmap of the same name as one that leaves.</summary>
public sealed class DroppedBitmapTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>In version 3 the top says that the bitmap's bits are lost; version 2 cannot.</summary>
    [Theory]
    [InlineData("rebase")]
    [InlineData("chain rebase")]
    public async Task ATopOfVersion2IsRefusedAndNothingIsWritten(string verb)
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        string top = folder.File("top.qcow2");
        foreach (string name in new[] { "old", "other" })
        {
            string image = folder.File(name + ".qcow2");
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", image, "4M");
            await Qemu.ImgOkAsync("bitmap", "--add", image, "b");
            await Qemu.IoOkAsync(image, "write -P 3 1M 64k");
        }

        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", "compat=0.10", "-b", "old.qcow2", "-F", "qcow2", top);
        await Qemu.IoOkAsync(top, "write -P 5 2M 64k");
        Dictionary<string, byte[]> before = await ReadAsync(folder);

        ProcessResult result = await Support.Cli.RunAsync([.. verb.Split(' '), "-b", "other.qcow2", "-F", "qcow2", top]);

        Assert.Equal(1, result.ExitCode);
        Assert.Contains("Bitmap 'b' is lost with the images that leave the chain", result.Error, StringComparison.Ordinal);
        Assert.Contains(
            "is of version 2 and cannot say that bits are lost; delete the bitmap first", result.Error, StringComparison.Ordinal);
        Assert.Equal(before, await ReadAsync(folder));

        // As it says.
        await Support.Cli.OkAsync("bitmap", "--remove", folder.File("old.qcow2"), "b");
        await Support.Cli.OkAsync([.. verb.Split(' '), "-b", "other.qcow2", "-F", "qcow2", top]);
    }

    /// <summary>
    /// What the top recorded goes on counting once it is committed, also where its bitmap was disabled and another disk's takes its place.
    /// </summary>
    [Fact]
    public async Task ACommitKeepsTheRecordOfADisabledBitmap()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        string old = folder.File("old.qcow2");
        string middle = folder.File("middle.qcow2");
        string top = folder.File("top.qcow2");
        string other = folder.File("other.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", old, "4M");
        await Qemu.ImgOkAsync("bitmap", "--add", old, "b");
        await Qemu.IoOkAsync(old, "write -P 7 1M 64k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", old, "-F", "qcow2", middle);
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", middle, "-F", "qcow2", top);
        await Qemu.ImgOkAsync("bitmap", "--add", top, "b");
        // The other disk has the same bytes where the first one changed: the rebase copies nothing there.
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", other, "4M");
        await Qemu.IoOkAsync(other, "write -P 7 1M 64k");
        await Qemu.ImgOkAsync("bitmap", "--add", other, "b");

        await Support.Cli.OkAsync("chain", "rebase", "-b", "other.qcow2", "-F", "qcow2", "--gaps", "disable", top);
        await Support.Cli.OkAsync("chain", "commit", top, other);

        await using ImageChain chain = await ImageChain.OpenAsync(other, cancellationToken: Token);
        Assert.True((await chain.JudgeBitmapAsync("b", cancellationToken: Token)).IsValid);
        List<DirtyExtent> dirty = await chain.ReadExtentsAsync("b", cancellationToken: Token).ToListAsync(Token);
        Assert.Contains(dirty, static extent => extent is { OffsetBytes: <= 1 << 20, EndBytes: >= (1 << 20) + (64 << 10) });
    }

    /// <summary>
    /// So it does where a crash has left the bitmap inconsistent: what is stored of it is read, and where that cannot be all is dirty.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ACommitKeepsTheRecordOfAnInconsistentBitmap(bool isTableBroken)
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        string old = folder.File("old.qcow2");
        string top = folder.File("top.qcow2");
        string other = folder.File("other.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", old, "4M");
        await Qemu.ImgOkAsync("bitmap", "--add", old, "b");
        await Qemu.IoOkAsync(old, "write -P 7 1M 64k");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", old, "-F", "qcow2", top);
        await Qemu.ImgOkAsync("bitmap", "--add", top, "b");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", other, "4M");
        await Qemu.IoOkAsync(other, "write -P 7 1M 64k");
        await Qemu.ImgOkAsync("bitmap", "--add", other, "b");
        await Support.Cli.OkAsync("chain", "rebase", "-b", "other.qcow2", "-F", "qcow2", top);
        await new QemuNode(top).CrashAsync();
        if (isTableBroken)
        {
            await BreakTableAsync(top);
        }

        await Support.Cli.OkAsync("chain", "commit", top, other);

        await using ImageChain chain = await ImageChain.OpenAsync(other, cancellationToken: Token);
        Assert.True((await chain.JudgeBitmapAsync("b", cancellationToken: Token)).IsValid);
        DirtyExtent dirty = Assert.Single(await chain.ReadExtentsAsync("b", cancellationToken: Token).ToListAsync(Token));
        Assert.Equal(isTableBroken ? (0, 4 << 20) : (1 << 20, 64 << 10), (dirty.OffsetBytes, dirty.LengthBytes));
    }

    /// <summary>Has the only entry of the bitmap's table be none.</summary>
    private static async Task BreakTableAsync(string path)
    {
        long entry;
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: Token))
        {
            BitmapInfo bitmap = Assert.Single(image.Bitmaps);
            Assert.Equal(BitmapState.Inconsistent, bitmap.State);
            entry = (long)bitmap.TableOffset;
        }

        await using var file = FileStorage.Open(path, FileAccess.ReadWrite, ImageLock.Write);
        await file.WriteAsync(entry, new byte[] { 0, 0, 0, 0, 0, 0, 2, 2 }, Token);
    }

    private static async Task<Dictionary<string, byte[]>> ReadAsync(TempFolder folder)
    {
        var files = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (string path in Directory.GetFiles(folder.Path))
        {
            files.Add(path, await File.ReadAllBytesAsync(path, Token));
        }

        return files;
    }
}
