using System.Buffers.Binary;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images;

/// <summary>
/// What reading costs: opening reads no bits, uniform pages are never read, and the largest bitmap streams in little memory.
/// </summary>
public sealed class CostTests
{
    private const long TiB = 1L << 40;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task OpeningReadsTheDirectoryAndNoBits()
    {
        var empty = new TestImage(16, 16 * TiB);
        var dense = new TestImage(16, 16 * TiB);
        byte[] bits = [.. Enumerable.Repeat((byte)0x55, 32 << 20)];
        dense.WithBitmap("first", 16, bits: bits).WithBitmap("second", 16, bits: bits);

        (long emptyBytes, int emptyReads) = await OpenAsync(empty.Build());
        (long denseBytes, int denseReads) = await OpenAsync(dense.Build());

        // Two entries of the directory: 24 bytes and a name, rounded up to 8.
        Assert.Equal(emptyBytes + 32 + 32, denseBytes);
        Assert.Equal(emptyReads + 1, denseReads);
    }

    [Fact]
    public async Task LoadingReadsTheTableAndEachPageThatIsNotUniformOnce()
    {
        var image = new TestImage(12, 100L << 20);
        var bits = new byte[25_600];
        bits[3 * 4096] = 1;
        bits[5 * 4096] = 1;
        await using var storage = new CountingStorage(
            MemoryStorage.ReadOnly(image.WithBitmap("a", 9, bits: bits, allOnesPages: [1, 2, 4]).Build()));
        await using Qcow2Image opened = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
        storage.Reads.Clear();

        DirtyBitmap bitmap = await opened.Bitmaps.LoadAsync("a", cancellationToken: Token);

        Assert.Equal([7 * 8, 4096, 4096], storage.Reads.Select(static read => read.Length));
        Assert.Equal((3 * 32768) + 2, bitmap.Count().Bits);
    }

    [Fact]
    public async Task TheLargestBitmapStreamsInBoundedMemory()
    {
        // 512 MiB of bits over 256 TiB, a cluster of them for each of 8192 pages.
        const int Pages = 8192;
        var image = new TestImage(16, 256 * TiB).WithBitmap("a", 16, bits: [1]);
        byte[] metadata = image.Build();
        long data = metadata.Length;
        Assert.Equal(Pages, image.Bitmaps[0].TableEntries);
        for (int i = 0; i < Pages; i++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(metadata.AsSpan(image.Bitmaps[0].TableOffset + (i * 8)), (ulong)(data + (i * 65536L)));
        }

        await using var storage = new RepeatingStorage(metadata, [.. Enumerable.Repeat((byte)0xff, 65_535), 0x7f], Pages);
        await using Qcow2Image opened = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
        long before = GC.GetAllocatedBytesForCurrentThread();
        int extents = 0;
        long dirty = 0;
        await foreach (DirtyExtent extent in opened.Bitmaps.ReadExtentsAsync("a", cancellationToken: Token))
        {
            extents++;
            dirty += extent.LengthBytes;
        }

        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.Equal(8192, extents);
        Assert.Equal((256 * TiB) - (8192 * 65536L), dirty);
        Assert.Equal(Pages, storage.BlocksRead);
        // A window, a page, the table, and small change for each page: all that was ever allocated, not only what lived at once.
        Assert.InRange(allocated, 1, 16 << 20);
    }

    private static async Task<(long Bytes, int Reads)> OpenAsync(byte[] bytes)
    {
        await using var storage = new CountingStorage(MemoryStorage.ReadOnly(bytes));
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
        return (storage.BytesRead, storage.Reads.Count);
    }
}
