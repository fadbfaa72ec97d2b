using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Refcounts;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images;

/// <summary>Counts of images that only a lenient reader opens.</summary>
public sealed class RefcountReaderTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ReservedBitsOfAnEntryAreNoPartOfTheOffset()
    {
        TestImage image = new TestImage(12).WithGuestData(3);
        byte[] bytes = image.Build();
        long expected = bytes.Length;
        // The low byte of the entry that names the first block.
        bytes[(1 << 12) + 7] = 8;

        Assert.Equal(
            expected,
            await RefcountReader.FindEndAsync(MemoryStorage.ReadOnly(bytes), image.Header, Qcow2Limits.Default, Token));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task ATableOfOneEmptyBlockIsReadOnceForEachBlock(int blocks)
    {
        const int Entries = 1 << 20;
        TestImage image = new TestImage(12).WithGuestData(3);
        byte[] bytes = image.Build();
        int table = bytes.Length;
        Array.Resize(ref bytes, table + (Entries * 8) + (2 << 12));
        for (int i = 0; i < Entries; i++)
        {
            // The zeros behind the table.
            BinaryPrimitives.WriteInt64BigEndian(bytes.AsSpan(table + (i * 8)), table + (Entries * 8) + (i % blocks << 12));
        }

        await using var storage = new CountingStorage(MemoryStorage.ReadOnly(bytes));
        Qcow2Header header = image.Header with { RefcountTableOffset = (ulong)table, RefcountTableClusters = Entries * 8 >> 12 };

        Assert.Equal(0, await RefcountReader.FindEndAsync(storage, header, Qcow2Limits.Default, Token));

        Assert.InRange(storage.BytesRead, 0, (Entries * 8) + (blocks << 12));
    }

    [Fact]
    public async Task ATableThatIsLongerThanAllowedIsNotRead()
    {
        TestImage image = new TestImage(12).WithHeader(static header => header with { RefcountTableOffset = 4096 });
        byte[] bytes = image.Build();
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(HeaderLayout.RefcountTableClusters), uint.MaxValue);
        Qcow2Header header = image.Header with { RefcountTableClusters = uint.MaxValue };

        Qcow2FormatException e = await Assert.ThrowsAsync<Qcow2FormatException>(
            async () => await RefcountReader.FindEndAsync(MemoryStorage.ReadOnly(bytes), header, Qcow2Limits.Default, Token));

        Assert.Equal(FaultCode.HeaderRefcountTable, e.Fault.Code);
    }
}
