using Qcow2Bitmaps.Images.Resizing;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Resizing;

/// <summary>What a resize does that qemu-img does otherwise, or refuses.</summary>
public sealed class ResizeTests : IDisposable
{
    private static readonly Qcow2ResizeOptions s_mayShrink = new() { AllowShrink = true };

    private readonly TempFolder _folder = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("cluster_size=64k", "write -P 5 0 256k")]
    [InlineData("cluster_size=64k,extended_l2=on", "write -P 5 0 256k")]
    [InlineData("cluster_size=64k", "write -c -P 5 0 64k", "write -c -P 5 64k 64k")]
    [InlineData("cluster_size=64k,extended_l2=on", "write -c -P 5 0 64k", "write -c -P 5 64k 64k")]
    [InlineData("cluster_size=64k,extended_l2=on", "write -P 5 0 100k", "write -P 5 114k 14k")]
    [InlineData("cluster_size=64k,compat=0.10", "write -P 5 0 256k")]
    public async Task WhatWasBehindTheEndIsNeverReadAgain(string options, params string[] commands)
    {
        Qemu.Require();
        foreach (bool qemuGrows in new[] { false, true })
        {
            string path = await CreateAsync(options, "256k", commands);
            if (!options.Contains("compat", StringComparison.Ordinal))
            {
                await Qemu.ImgOkAsync("snapshot", "-c", "s", path);
            }

            await ResizeAsync(path, (100 << 10) + 512);
            if (qemuGrows)
            {
                await Qemu.ImgOkAsync("resize", "-q", path, "256k");
            }
            else
            {
                await ResizeAsync(path, 256 << 10);
            }

            // "Pattern verification failed" makes qemu-io fail.
            await Qemu.IoOkAsync(path, "read -P 5 0 100k", "read -P 0 102912 159232");
            await Qemu.ImgOkAsync("check", path);
            if (!options.Contains("compat", StringComparison.Ordinal))
            {
                await Qemu.ImgOkAsync("snapshot", "-a", "s", path);
                await Qemu.IoOkAsync(path, "read -P 5 114k 14k");
            }
        }
    }

    [Theory]
    [InlineData("cluster_size=64k", "write -P 5 0 256k")]
    [InlineData("cluster_size=64k,extended_l2=on", "write -P 5 0 256k")]
    [InlineData("cluster_size=64k", "write -c -P 5 64k 64k")]
    public async Task WhatQemuHasLeftBehindTheEndIsNotReadWhenTheDiskGrows(string options, string command)
    {
        Qemu.Require();
        string path = await CreateAsync(options, "256k", command);
        await Qemu.ImgOkAsync("resize", "-q", "--shrink", path, "100k");
        await ResizeAsync(path, 256 << 10);
        await Qemu.IoOkAsync(path, "read -P 5 64k 36k", "read -P 0 100k 156k");
        await Qemu.ImgOkAsync("check", path);
    }

    [Theory]
    [InlineData("cluster_size=64k")]
    [InlineData("cluster_size=512")]
    [InlineData("cluster_size=64k,extended_l2=on")]
    public async Task ALongerBackingImageDoesNotShowThrough(string options)
    {
        Qemu.Require();
        string below = _folder.Write("below.raw", [.. Enumerable.Repeat((byte)9, 700 << 10)]);
        string path = _folder.File("over.qcow2");
        string twin = _folder.File("twin.qcow2");
        foreach (string file in new[] { path, twin })
        {
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", options, "-b", below, "-F", "raw", file, "101k");
        }

        await Qemu.ImgOkAsync("resize", "-q", twin, "3M");
        ProcessResult result = await Support.Cli.RunAsync("resize", path, "3M");
        Assert.True(result.ExitCode == 0, result.Error);
        await Qemu.ImgOkAsync("compare", path, twin);
        await Qemu.IoOkAsync(path, "read -P 9 0 101k", "read -P 0 101k 2971k");
        await Qemu.ImgOkAsync("check", path);
    }

    /// <summary>
    /// An external data file gets the size of the disk; what was behind the end does not come back, and a
    /// raw one goes on reading like the disk.
    /// </summary>
    [Theory]
    [InlineData("", false)]
    [InlineData(",data_file_raw=on", false)]
    [InlineData(",extended_l2=on,cluster_size=128k", false)]
    [InlineData("", true)]
    [InlineData(",extended_l2=on,cluster_size=128k", true)]
    public async Task ADataFileIsResizedWithTheDisk(string options, bool hasBacking)
    {
        Qemu.Require();
        const int Size = 1000 << 10;
        string data = _folder.File("a.data");
        string path = _folder.File("a.qcow2");
        string[] backing = hasBacking ? ["-b", _folder.Write("below.raw", [.. Enumerable.Repeat((byte)9, 3 << 20)]), "-F", "raw"] : [];
        await Qemu.ImgOkAsync(["create", "-q", "-f", "qcow2", "-o", $"data_file={data}{options}", .. backing, path, $"{Size}"]);
        await Qemu.ImgOkAsync("bitmap", "--add", path, "b");
        var model = new byte[Size];
        model.AsSpan().Fill(hasBacking ? (byte)9 : (byte)0);
        foreach ((byte pattern, int start, int length)
            in new[] { ((byte)1, 100 << 10, 300 << 10), ((byte)2, 650 << 10, 35 << 10), ((byte)3, 900 << 10, 60 << 10) })
        {
            await Qemu.IoOkAsync(path, $"write -P {pattern} {start} {length}");
            model.AsSpan(start, length).Fill(pattern);
        }

        foreach (int size in new[] { 2000 << 10, 702 << 10, 1500 << 10, 1501 << 10, 940 << 10, 130 << 10, 1 << 20 })
        {
            ProcessResult result = await Support.Cli.RunAsync("resize", "--shrink", path, $"{size}");
            Assert.True(result.ExitCode == 0, result.Error);
            Array.Resize(ref model, size);
            Assert.Equal(size, (await File.ReadAllBytesAsync(data, Token)).Length);
            string raw = _folder.File("read.raw");
            await Qemu.ImgOkAsync("convert", "-O", "raw", path, raw);
            Assert.Equal(model, await File.ReadAllBytesAsync(raw, Token));
            if (options.Contains("raw", StringComparison.Ordinal))
            {
                Assert.Equal(model, await File.ReadAllBytesAsync(data, Token));
                Assert.DoesNotContain("\"present\": false", await Qemu.ImgOkAsync("map", "--output=json", path), StringComparison.Ordinal);
            }

            await Qemu.ImgOkAsync("check", path);
        }

        // QEMU goes on from there.
        await Qemu.IoOkAsync(path, "write -P 7 1000k 24k", "read -P 7 1000k 24k");
    }

    [Fact]
    public async Task ADataFileThatIsNotGivenRefusesTheResize()
    {
        Qemu.Require();
        string path = _folder.File("a.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", $"data_file={_folder.File("a.data")}", path, "1M");
        byte[] before = await File.ReadAllBytesAsync(path, Token);
        Qcow2UnsupportedException e = await Assert.ThrowsAsync<Qcow2UnsupportedException>(async () => await ResizeAsync(path, 2 << 20));
        Assert.Equal(UnsupportedReason.ExternalDataFile, e.Reason);
        Assert.Equal(before, await File.ReadAllBytesAsync(path, Token));
    }

    [Fact]
    public async Task AnOverlayWithoutItsBackingImageAtHandHidesAllOfIt()
    {
        Qemu.Require();
        string below = _folder.Write("below.raw", [.. Enumerable.Repeat((byte)9, 700 << 10)]);
        string path = _folder.File("over.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", below, "-F", "raw", path, "128k");
        await ResizeAsync(path, 3 << 20);
        await Qemu.IoOkAsync(path, "read -P 9 0 128k", "read -P 0 128k 2944k");
        await Qemu.ImgOkAsync("resize", "-q", "--shrink", path, "100k");
        await Assert.ThrowsAsync<Qcow2UnsupportedException>(async () => await ResizeAsync(path, 3 << 20));
        await Qemu.ImgOkAsync("check", path);
    }

    [Fact]
    public async Task ASizeAtWhichQemuLosesABitmapIsRefused()
    {
        Qemu.Require();
        string path = await CreateAsync("cluster_size=64k", "1M");
        await Qemu.ImgOkAsync("bitmap", "--add", path, "b");
        byte[] before = await File.ReadAllBytesAsync(path, Token);
        BitmapStateException e = await Assert.ThrowsAsync<BitmapStateException>(async () => await ResizeAsync(path, 257L << 40));
        Assert.Contains("Too much space will be occupied by the bitmap", e.Message, StringComparison.Ordinal);
        Assert.Equal(before, await File.ReadAllBytesAsync(path, Token));
        await ResizeAsync(path, 256L << 40);
        await Qemu.ImgOkAsync("check", path);
    }

    [Fact]
    public async Task ShrinkingMustBeAllowed()
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(new MemoryStorage(new TestImage().Build()), cancellationToken: Token);
        await Assert.ThrowsAsync<ArgumentException>(async () => await image.ResizeAsync(512, cancellationToken: Token));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await image.ResizeAsync((1 << 20) + 1, cancellationToken: Token));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await image.ResizeAsync(0, s_mayShrink, Token));
        Assert.Equal(1 << 20, image.VirtualSizeBytes);
    }

    private async Task<string> CreateAsync(string options, string size, params string[] commands)
    {
        string path = _folder.File("a.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", options, path, size);
        if (commands.Length > 0)
        {
            await Qemu.IoOkAsync(path, commands);
        }

        return path;
    }

    private static async Task ResizeAsync(string path, long size)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token);
        await image.ResizeAsync(size, s_mayShrink, Token);
        Assert.Equal(size, image.VirtualSizeBytes);
    }
}
