using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Guest;

/// <summary>The end of a writer, and which file its extents are in.</summary>
public sealed class WriterDisposeTests
{
    private const int Cluster = 4096;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task WhatAWriterOwnsIsClosedOnce()
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(new MemoryStorage(new TestImage().Build()), cancellationToken: Token);
        var owned = new CountedDispose();
        var writer = (GuestWriter)await image.OpenWriterAsync(Token);
        writer.Owned = owned;

        await Task.WhenAll(writer.DisposeAsync().AsTask(), writer.DisposeAsync().AsTask());
        await writer.DisposeAsync();

        Assert.Equal(1, owned.Disposals);
    }

    [Fact]
    public async Task WhatARawDiskOwnsIsClosedOnce()
    {
        var owned = new CountedDispose();
        var disk = new RawDisk(new MemoryStorage(new byte[Cluster])) { Owned = owned };

        await disk.DisposeAsync();
        await disk.DisposeAsync();

        Assert.Equal(1, owned.Disposals);
    }

    /// <summary>It says so once, and lets go of the image.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task AWriterWhoseLastWritesFailIsClosedAllTheSame(bool isGone)
    {
        var storage = new FailingStorage(new MemoryStorage(new TestImage().Build())) { IsGoneAfterwards = isGone };
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        var owned = new CountedDispose();
        var writer = (GuestWriter)await image.OpenWriterAsync(Token);
        writer.Owned = owned;
        await writer.WriteAsync(0, Filled(), Token);
        storage.FailingWrite = storage.Writes + 1;

        await Assert.ThrowsAsync<IOException>(async () => await writer.DisposeAsync());
        await writer.DisposeAsync();

        Assert.Equal(1, owned.Disposals);
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await writer.WriteAsync(0, Filled(), Token));
        storage.IsMended = true;
        await using (Disk next = await image.OpenWriterAsync(Token))
        {
            await next.WriteAsync(0, Filled(), Token);
        }

        Assert.Equal(0, (await image.CheckAsync(Token)).Corruptions);
    }

    [Fact]
    public async Task AWriterOfAClosedImageSaysSoOnce()
    {
        Qcow2Image image = await Qcow2Image.OpenAsync(new MemoryStorage(new TestImage().Build()), cancellationToken: Token);
        var writer = (GuestWriter)await image.OpenWriterAsync(Token);
        await image.DisposeAsync();

        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await writer.DisposeAsync());
        await writer.DisposeAsync();
    }

    /// <summary>Extents of an image that is open alone are all in its file; those of a chain in that of their image.</summary>
    [Fact]
    public async Task AWriterTellsWhichFileItsExtentsAreIn()
    {
        using var folder = new TempFolder();
        string basePath = folder.Write("base.qcow2", new TestImage(12).WithGuestData(2).Build());
        string topPath = folder.Write("top.qcow2", new TestImage(12) { BackingFile = "base.qcow2" }.Build());
        await using (Qcow2Image alone = await Qcow2Image.OpenAsync(basePath, FileAccess.ReadWrite, cancellationToken: Token))
        {
            await using Disk writer = await alone.OpenWriterAsync(Token);
            Assert.Equal(FileStorage.IdentityOf(basePath), writer.FileOf(0));
            Assert.NotNull(writer.FileOf(0));
            Assert.Null(writer.FileOf(1));
        }

        await using Disk disk = await ImageChain.OpenWriterAsync(topPath, cancellationToken: Token);
        await disk.WriteAsync(Cluster, Filled(), Token);
        List<DiskExtent> map = await disk.MapAsync(0, 2 * Cluster, Token).ToListAsync(Token);
        Assert.Equal(
            [FileStorage.IdentityOf(basePath), FileStorage.IdentityOf(topPath)], map.Select(extent => disk.FileOf(extent.Depth)));
    }

    private static byte[] Filled()
    {
        var bytes = new byte[Cluster];
        Array.Fill(bytes, (byte)7);
        return bytes;
    }
}
