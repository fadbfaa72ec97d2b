using FsCheck.Fluent;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Format;

/// <summary>Entries of L1, L2, refcount and snapshot tables.</summary>
public sealed class TableEntryTests
{
    [Theory]
    [InlineData(0ul, FaultCode.None)]
    [InlineData(0x8000000000040000ul, FaultCode.None)]
    [InlineData(0x8000000000040001ul, FaultCode.L1EntryReserved)]
    [InlineData(0x4000000000040000ul, FaultCode.L1EntryReserved)]
    [InlineData(0x8000000000040200ul, FaultCode.L1EntryUnaligned)]
    public void L1(ulong raw, object expected)
    {
        var entry = new L1Entry(raw);

        Assert.Equal((FaultCode)expected, entry.Check(16));
        if (expected is FaultCode.None)
        {
            Assert.Equal(entry, L1Entry.Create(entry.L2TableOffset, entry.IsCopied));
        }
    }

    [Theory]
    [InlineData(0ul, L2EntryKind.Unallocated, FaultCode.None)]
    [InlineData(1ul, L2EntryKind.ZeroPlain, FaultCode.None)]
    [InlineData(0x8000000000050000ul, L2EntryKind.Normal, FaultCode.None)]
    [InlineData(0x8000000000050001ul, L2EntryKind.ZeroAllocated, FaultCode.None)]
    [InlineData(0x4000000000051234ul, L2EntryKind.Compressed, FaultCode.None)]
    [InlineData(0xc000000000051234ul, L2EntryKind.Compressed, FaultCode.L2CompressedCopied)]
    [InlineData(0x8000000000050002ul, L2EntryKind.Normal, FaultCode.L2EntryReserved)]
    [InlineData(0x2000000000050000ul, L2EntryKind.Normal, FaultCode.L2EntryReserved)]
    [InlineData(0x8000000000050200ul, L2EntryKind.Normal, FaultCode.L2EntryUnaligned)]
    public void L2(ulong raw, object kind, object expected)
    {
        var entry = new L2Entry(raw);

        Assert.Equal((L2EntryKind)kind, entry.Kind(new Qcow2Header()));
        Assert.Equal((FaultCode)expected, entry.Check(16));
        if (expected is FaultCode.None)
        {
            Assert.Equal(entry, entry.IsCompressed
                ? L2Entry.CreateCompressed(entry.Compressed(16), 16)
                : L2Entry.Create(entry.HostOffset, entry.IsCopied, kind is L2EntryKind.ZeroAllocated or L2EntryKind.ZeroPlain));
        }
    }

    [Fact]
    public void L2DependsOnTheImage()
    {
        Assert.Equal(L2EntryKind.Unallocated, new L2Entry(1).Kind(new Qcow2Header { Version = 2 }));
        Assert.Equal(
            L2EntryKind.Unallocated, new L2Entry(1).Kind(new Qcow2Header { IncompatibleFeatures = IncompatibleFeatures.ExtendedL2 }));
        var dataAtZero = L2Entry.Create(0, isCopied: true);
        Assert.Equal(L2EntryKind.Unallocated, dataAtZero.Kind(new Qcow2Header()));
        Assert.Equal(L2EntryKind.Normal, dataAtZero.Kind(new Qcow2Header { IncompatibleFeatures = IncompatibleFeatures.ExternalDataFile }));
    }

    [Fact]
    public void CompressedDescriptorsFitAllClusterSizes() => Properties.ForAll(
        from clusterBits in Gen.Choose(9, 21)
        from high in Gen.Choose(0, int.MaxValue)
        from low in Gen.Choose(0, int.MaxValue)
        from sectors in Gen.Choose(0, (1 << (clusterBits - 8)) - 1)
        select (clusterBits, new CompressedDescriptor((((ulong)high << 31) | (uint)low) & ((1UL << (70 - clusterBits)) - 1), sectors)),
        1000,
        static c =>
        {
            ulong packed = c.Item2.Encode(c.clusterBits);
            Assert.Equal(0UL, packed >> 62);
            Assert.Equal(c.Item2, CompressedDescriptor.Decode(packed, c.clusterBits));
            Assert.Equal(
                (int)((c.Item2.HostOffset & ~511UL) + ((ulong)(c.Item2.AdditionalSectors + 1) * 512) - c.Item2.HostOffset),
                c.Item2.LengthBytes);
        });

    [Fact]
    public void CompressedDescriptorsThatDoNotFitAreRefused()
    {
        Assert.Throws<InvalidOperationException>(() => new CompressedDescriptor(1UL << 54, 0).Encode(16));
        Assert.Throws<InvalidOperationException>(() => new CompressedDescriptor(0, 256).Encode(16));
    }

    [Theory]
    [InlineData(0x0000000000000000ul, false, FaultCode.None)]
    [InlineData(0x00000001fffffffeul, false, FaultCode.None)]
    [InlineData(0x0000000100000001ul, false, FaultCode.L2SubclusterBitmap)]
    [InlineData(0x0000000000000001ul, true, FaultCode.L2SubclusterBitmap)]
    public void Subclusters(ulong raw, bool isCompressed, object expected)
    {
        var bitmap = new SubclusterBitmap(raw);
        Assert.Equal((FaultCode)expected, bitmap.Check(isCompressed));
        Assert.Equal(bitmap, new SubclusterBitmap(bitmap.Allocated, bitmap.Zero));
    }

    [Theory]
    [InlineData(0ul, FaultCode.None)]
    [InlineData(0x20000ul, FaultCode.None)]
    [InlineData(0x20001ul, FaultCode.RefcountTableEntryReserved)]
    [InlineData(0x20200ul, FaultCode.RefcountTableEntryUnaligned)]
    public void RefcountTable(ulong raw, object expected) => Assert.Equal((FaultCode)expected, new RefcountTableEntry(raw).Check(16));

    [Fact]
    public void RefcountsOfAllWidths() => Properties.ForAll(
        from order in Gen.Choose(0, 6)
        from counts in Gen.Choose(int.MinValue, int.MaxValue).ArrayOf((64 * 8) >> order)
        select (order, counts.Select(count => unchecked((ulong)count * 0x9E3779B97F4A7C15) & RefcountBlock.MaxCount(order)).ToArray()),
        300,
        static c =>
        {
            var block = new byte[64];
            for (int i = c.Item2.Length - 1; i >= 0; i--)
            {
                RefcountBlock.Write(block, i, c.order, c.Item2[i]);
            }

            Assert.Equal(c.Item2, Enumerable.Range(0, c.Item2.Length).Select(i => RefcountBlock.Read(block, i, c.order)));
        });

    [Fact]
    public void NarrowRefcountsFillABytesLowBitsFirst()
    {
        var block = new byte[1];
        RefcountBlock.Write(block, 0, 0, 1);
        RefcountBlock.Write(block, 3, 0, 1);
        Assert.Equal(0b1001, block[0]);
        Assert.Throws<ArgumentOutOfRangeException>(() => RefcountBlock.Write(block, 0, 0, 2));
        Assert.Throws<ArgumentOutOfRangeException>(() => RefcountBlock.Read(block, 0, 7));
    }

    [Fact]
    public void SnapshotEntryIsReadAndWritten()
    {
        byte[] extra = Convert.FromHexString(
            "00000000075bcd15 0000000000a00200 ffffffffffffffff".Replace(" ", "", StringComparison.Ordinal));
        var entry = new SnapshotEntry
        {
            L1TableOffset = 0x90000,
            L1Size = 6,
            Seconds = 1704164645,
            Nanoseconds = 7,
            VmClockNanoseconds = 9,
            VmStateSize32 = 5,
            ExtraData = extra,
            Id = "1"u8,
            Name = "before"u8,
        };
        var bytes = new byte[entry.SizeBytes];
        Assert.Equal(72, entry.Write(bytes));

        Assert.True(SnapshotEntry.TryRead(bytes, out SnapshotEntry read));
        Assert.Equal(
            (0x90000UL, 6u, 1704164645u, 7u, 9UL, 5u),
            (read.L1TableOffset, read.L1Size, read.Seconds, read.Nanoseconds, read.VmClockNanoseconds, read.VmStateSize32));
        Assert.Equal("before"u8, read.Name);
        Assert.Equal("1"u8, read.Id);
        Assert.Equal(123456789UL, read.VmStateSizeBytes);
        Assert.Equal(10486272UL, read.DiskSizeBytes);
        Assert.Null(read.InstructionCount);
        Assert.Equal(71, SnapshotEntry.UnpaddedBytes(bytes));
        Assert.False(SnapshotEntry.TryRead(bytes.AsSpan(0, 70), out _));
    }

    [Fact]
    public void SnapshotWithoutExtraDataHasOnlyTheFixedFields()
    {
        var entry = new SnapshotEntry { VmStateSize32 = 5 };
        Assert.Equal(5UL, entry.VmStateSizeBytes);
        Assert.Null(entry.DiskSizeBytes);
        Assert.Null(entry.InstructionCount);
    }
}
