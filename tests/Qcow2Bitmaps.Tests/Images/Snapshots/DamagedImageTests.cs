using System.Buffers.Binary;
using System.Diagnostics;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Resizing;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Snapshots;

/// <summary>
/// Images with wrong counts, or tables made to cost time, are refused as they are, or take no longer than what they occupy.
/// </summary>
public sealed class DamagedImageTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task AClusterThatIsNotCountedIsRefusedAndNothingIsWritten()
    {
        byte[] image = new TestImage(12).WithGuestData(3).Build();
        // The refcount block is cluster 2, the L1 table 3, the L2 table 4; data follow.
        BinaryPrimitives.WriteUInt16BigEndian(image.AsSpan((2 << 12) + (2 * 6)), 0);
        var storage = new MemoryStorage(image);
        await using Qcow2Image opened = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        Qcow2FormatException e = await Assert.ThrowsAsync<Qcow2FormatException>(async () => await opened.CreateSnapshotAsync("s", Token));
        Assert.Equal(FaultCode.RefcountTooLow, e.Fault.Code);
        Assert.Equal(image, storage.ToArray());
        // The cluster lies behind the new end: it cannot be freed.
        await Assert.ThrowsAsync<Qcow2FormatException>(
            async () => await opened.ResizeAsync(4096, new Qcow2ResizeOptions { AllowShrink = true }, Token));
        Assert.Equal(image, storage.ToArray());
    }

    [Fact]
    public async Task AnEntryThatCannotBeIsRefusedAndNothingIsWritten()
    {
        byte[] image = new TestImage(12).WithGuestData(3).Build();
        image[(4 << 12) + 6] |= 2;
        var storage = new MemoryStorage(image);
        await using Qcow2Image opened = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        Qcow2FormatException e = await Assert.ThrowsAsync<Qcow2FormatException>(async () => await opened.CreateSnapshotAsync("s", Token));
        Assert.Equal(FaultCode.L2EntryUnaligned, e.Fault.Code);
        Assert.Equal(image, storage.ToArray());
    }

    [Fact]
    public async Task TablesThatAreNamedManyTimesAreReadOnce()
    {
        // 32 TiB, of which each part names the same table of 8192 clusters: half a billion uses.
        const int Entries = 65_536;
        byte[] image = new TestImage(16, (long)Entries << 29, refcountOrder: 6).WithGuestData(40).Build();
        Span<byte> l1 = image.AsSpan(3 << 16, Entries * sizeof(ulong));
        ulong entry = BinaryPrimitives.ReadUInt64BigEndian(l1);
        for (int i = 0; i < Entries; i++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(l1[(i * sizeof(ulong))..], entry);
        }

        await using Qcow2Image opened = await Qcow2Image.OpenAsync(new MemoryStorage(image), cancellationToken: Token);
        var clock = Stopwatch.StartNew();
        // The table is counted once: taking all its uses away is refused, counting them again is not.
        await Assert.ThrowsAsync<Qcow2FormatException>(async () => await opened.CreateSnapshotAsync("s", Token));
        Assert.True(clock.Elapsed < Patience.Limit, clock.Elapsed.ToString());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task CountsThatAreTooNarrowAreRefusedAndNothingIsWritten(int refcountOrder)
    {
        byte[] image = new TestImage(12, refcountOrder: refcountOrder).WithGuestData(3).Build();
        var storage = new MemoryStorage(image);
        await using Qcow2Image opened = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        // Counts of one bit count the disk's own use, those of two bits two snapshots more.
        for (int i = 0; i < (refcountOrder == 0 ? 0 : 2); i++)
        {
            await opened.CreateSnapshotAsync("s", Token);
        }

        byte[] before = storage.ToArray();
        Qcow2UnsupportedException e = await Assert.ThrowsAsync<Qcow2UnsupportedException>(
            async () => await opened.CreateSnapshotAsync("s", Token));
        Assert.Equal(UnsupportedReason.RefcountWidth, e.Reason);
        Assert.Equal(before, storage.ToArray());
    }
}
