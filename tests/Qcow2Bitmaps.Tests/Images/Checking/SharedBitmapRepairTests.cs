using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Checking;

/// <summary>A repair of bitmaps neither writes nor frees what something else uses, wherever a bitmap points, whatever counts say.</summary>
public sealed class SharedBitmapRepairTests
{
    private const int ClusterBits = 12;
    private const int L2Table = 4 << ClusterBits;
    private const int FirstData = 5 << ClusterBits;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(L2Table, 1, 4)]
    [InlineData(L2Table, 1, 0)]
    [InlineData(FirstData, 1, 4)]
    [InlineData(FirstData, 1, 0)]
    [InlineData(L2Table, 4096, 4)]
    public async Task TheTableOfAnInconsistentBitmapThatIsSomethingElseIsLeftAlone(int tableOffset, int entries, int refcountOrder)
    {
        TestImage image = new TestImage(ClusterBits, refcountOrder: refcountOrder)
            .WithGuestData(3)
            .WithBitmap("a", flags: BitmapFlags.InUse);
        byte[] bytes = image.Build();
        Span<byte> entry = bytes.AsSpan(image.DirectoryOffset + image.Bitmaps[0].EntryOffsetInDirectory);
        BinaryPrimitives.WriteUInt64BigEndian(entry, (ulong)tableOffset);
        BinaryPrimitives.WriteInt32BigEndian(entry[8..], entries);

        (CheckReport report, byte[] after) = await RepairAsync(bytes, RepairKinds.Bitmaps);

        Assert.Equal(bytes, after);
        Assert.NotEqual(0, report.Corruptions);
        Assert.Contains(report.Repairs, static repair => repair.Message.StartsWith("Bitmap 'a' is not repaired", StringComparison.Ordinal));
    }

    [Fact]
    public async Task CountsThatAreRightDoNotMakeTheTableWritable()
    {
        TestImage image = new TestImage(ClusterBits).WithGuestData(3).WithBitmap("a", flags: BitmapFlags.InUse);
        byte[] bytes = image.Build();
        BinaryPrimitives.WriteUInt64BigEndian(
            bytes.AsSpan(image.DirectoryOffset + image.Bitmaps[0].EntryOffsetInDirectory), L2Table);

        (_, byte[] after) = await RepairAsync(bytes, RepairKinds.All | RepairKinds.Bitmaps);

        Assert.Equal(await GuestAsync(bytes), await GuestAsync(after));
    }

    [Fact]
    public async Task BitsBehindTheDisksEndThatAreGuestDataAreNotCleared()
    {
        TestImage image = new TestImage(ClusterBits).WithGuestData(3).WithBitmap("a", bits: [1]);
        byte[] bytes = image.Build();
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(image.Bitmaps[0].TableOffset), FirstData);

        (CheckReport report, byte[] after) = await RepairAsync(bytes, RepairKinds.Bitmaps);

        Assert.Equal(bytes, after);
        Assert.Contains(report.Repairs, static repair => repair.Message.StartsWith("Bitmap 'a' is not repaired", StringComparison.Ordinal));
    }

    /// <summary>The bitmap is written anew: its old table, and its old bits, stay guest data.</summary>
    [Theory]
    [InlineData("table")]
    [InlineData("bits")]
    public async Task WhatTheRepairReplacesIsNotFreedWhereItIsGuestData(string what)
    {
        // Two pages: the first one's entry is broken.
        TestImage image = new TestImage(ClusterBits, 32 << 20)
            .WithGuestData(3)
            .WithBitmap("a", 9, bits: [1])
            .WithBitmap("b", 9, bits: [1]);
        byte[] bytes = image.Build();
        if (what == "table")
        {
            BinaryPrimitives.WriteUInt64BigEndian(
                bytes.AsSpan(image.DirectoryOffset + image.Bitmaps[0].EntryOffsetInDirectory), FirstData);
        }
        else
        {
            // Of two bitmaps of one name none stays.
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(image.Bitmaps[0].TableOffset + 8), FirstData);
            bytes[image.DirectoryOffset + image.Bitmaps[1].EntryOffsetInDirectory + 24] = (byte)'a';
        }

        (_, byte[] after) = await RepairAsync(bytes, RepairKinds.Bitmaps);

        Assert.NotEqual(bytes, after);
        Assert.Equal(await GuestAsync(bytes), await GuestAsync(after));
        // What is left is in use, so that nobody takes it.
        Assert.Equal(1, BinaryPrimitives.ReadUInt16BigEndian(after.AsSpan((2 << ClusterBits) + (2 * (FirstData >> ClusterBits)))));
    }

    private static async Task<(CheckReport Report, byte[] After)> RepairAsync(byte[] bytes, RepairKinds kinds)
    {
        await using var storage = new MemoryStorage(bytes.ToArray());
        await using Qcow2Image image = await Qcow2Image.OpenForCheckAsync(storage, cancellationToken: Token);
        CheckReport report = await image.RepairAsync(kinds, Token);
        return (report, storage.ToArray());
    }

    /// <summary>What the guest sees, whatever bitmaps there are.</summary>
    private static async Task<byte[]> GuestAsync(byte[] bytes)
    {
        byte[] withoutBitmaps = [.. bytes];
        withoutBitmaps.AsSpan(HeaderLayout.AutoclearFeatures, sizeof(ulong)).Clear();
        ImageChain chain = await ImageChain.OpenAsync(MemoryStorage.ReadOnly(withoutBitmaps), cancellationToken: Token);
        await using (chain)
        {
            var guest = new byte[16 << ClusterBits];
            await chain.ReadAsync(0, guest, Token);
            return guest;
        }
    }
}
