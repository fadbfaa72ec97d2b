using FsCheck;
using FsCheck.Fluent;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Format;

/// <summary>The bitmaps extension, directory entries and table entries: exact bytes, both ways, and each rule's fault.</summary>
public sealed class BitmapStructureTests
{
    private const string Entry = "0000000000040000 00000001 00000002 01 10 0003 00000000 616263 0000000000";
    private static readonly ImageGeometry s_geometry = new(16, 1 << 20, 4, hasExtendedL2: false);

    [Fact]
    public void ExtensionIsReadAndWritten()
    {
        byte[] bytes = Hex("00000002 00000000 0000000000000040 0000000000050000");

        Assert.True(BitmapsExtension.TryRead(bytes, 0, out BitmapsExtension extension, out _));
        Assert.Equal(new BitmapsExtension(2, 0, 64, 0x50000), extension);
        Assert.Empty(extension.CheckFaults(0, 16, Qcow2Limits.Default));
        var written = new byte[24];
        extension.Write(written);
        Assert.Equal(bytes, written);
    }

    [Theory]
    [InlineData(0u, 0u, 64ul, 0x50000ul, FaultCode.BitmapsExtensionCount)]
    [InlineData(65536u, 0u, 64ul, 0x50000ul, FaultCode.BitmapsExtensionCount)]
    [InlineData(1u, 1u, 64ul, 0x50000ul, FaultCode.BitmapsExtensionReserved)]
    [InlineData(1u, 0u, 0ul, 0x50000ul, FaultCode.BitmapsExtensionDirectorySize)]
    [InlineData(1u, 0u, 67107841ul, 0x50000ul, FaultCode.BitmapsExtensionDirectorySize)]
    [InlineData(1u, 0u, ulong.MaxValue, 0x50000ul, FaultCode.BitmapsExtensionDirectorySize)]
    [InlineData(1u, 0u, 64ul, 0ul, FaultCode.BitmapsExtensionDirectoryOffset)]
    [InlineData(1u, 0u, 64ul, 0x50200ul, FaultCode.BitmapsExtensionDirectoryOffset)]
    [InlineData(1u, 0u, 64ul, 0x8000000000000000ul, FaultCode.BitmapsExtensionDirectoryOffset)]
    public void ExtensionRules(uint count, uint reserved, ulong size, ulong offset, object expected) =>
        Assert.Equal(
            [(FaultCode)expected],
            new BitmapsExtension(count, reserved, size, offset).CheckFaults(0, 16, Qcow2Limits.Default).Select(static f => f.Code));

    [Theory]
    [InlineData(0)]
    [InlineData(23)]
    [InlineData(25)]
    public void ExtensionOfTheWrongLength(int length)
    {
        Assert.False(BitmapsExtension.TryRead(new byte[length], 0x78, out _, out FormatFault? fault));
        Assert.Equal(FaultCode.BitmapsExtensionLength, fault!.Code);
        Assert.Equal(0x78UL, fault.Offset);
    }

    [Fact]
    public void EntryIsReadAndWritten()
    {
        byte[] bytes = Hex(Entry);

        Assert.True(BitmapDirectoryEntry.TryRead(bytes, out BitmapDirectoryEntry entry));
        Assert.Equal(0x40000UL, entry.TableOffset);
        Assert.Equal(1u, entry.TableEntries);
        Assert.Equal(BitmapFlags.Auto, entry.Flags);
        Assert.Equal(16, entry.GranularityBits);
        Assert.Equal("abc"u8, entry.Name);
        Assert.Equal(32, entry.SizeBytes);
        Assert.Equal(5, entry.Padding.Length);
        Assert.Empty(entry.CheckFaults(0, 0, s_geometry, Qcow2Limits.Default));
        var written = new byte[32];
        Assert.Equal(32, entry.Write(written));
        Assert.Equal(bytes, written);
    }

    [Fact]
    public void ReadingAndCheckingEntriesAllocatesNothing()
    {
        byte[] bytes = Hex(Entry);
        int faults = 0;
        Assert.Equal(0, Allocations.Of(() =>
        {
            faults += BitmapDirectoryEntry.TryRead(bytes, out BitmapDirectoryEntry entry)
                ? entry.CheckFaults(0, 0, s_geometry, Qcow2Limits.Default).Count
                : 1;
            faults += new BitmapTableEntry(0x50000).Check(16) == FaultCode.None ? 0 : 1;
            faults += new L2Entry(0x8000000000050000).Check(16) == FaultCode.None ? 0 : 1;
        }));
        Assert.Equal(0, faults);
    }

    [Fact]
    public void AnyEntryIsWrittenAsItWasRead() => Properties.ForAll(
        from fixedPart in Bytes(24)
        from extra in Gen.Choose(0, 40).SelectMany(Bytes)
        from name in Gen.Choose(0, 60).SelectMany(Bytes)
        select (fixedPart, extra, name),
        500,
        static c =>
        {
            Assert.True(BitmapDirectoryEntry.TryRead(WithLengths(c.fixedPart, 0, 0), out BitmapDirectoryEntry fields));
            BitmapDirectoryEntry entry = new()
            {
                TableOffset = fields.TableOffset,
                TableEntries = fields.TableEntries,
                Flags = fields.Flags,
                Type = fields.Type,
                GranularityBits = fields.GranularityBits,
                ExtraData = c.extra,
                Name = c.name,
            };
            var bytes = new byte[entry.SizeBytes + 8];
            int length = entry.Write(bytes);
            Assert.Equal(0, length % 8);
            Assert.True(BitmapDirectoryEntry.TryRead(bytes, out BitmapDirectoryEntry read));
            Assert.Equal(length, read.SizeBytes);
            Assert.Equal(c.extra, read.ExtraData);
            Assert.Equal(c.name, read.Name);
            Assert.Equal(entry.TableOffset, read.TableOffset);
            Assert.Equal(
                (entry.TableEntries, entry.Flags, entry.Type, entry.GranularityBits),
                (read.TableEntries, read.Flags, read.Type, read.GranularityBits));
            Assert.False(BitmapDirectoryEntry.TryRead(bytes.AsSpan(0, length - 1), out _));
        });

    [Theory]
    [InlineData("ExtraDataOfFourGigabytes", "0000000000040000 00000001 00000002 01 10 0003 fffffff0 616263 0000000000")]
    [InlineData("ExtraDataThatWraps", "0000000000040000 00000001 00000002 01 10 0020 ffffffe0 616263 0000000000")]
    [InlineData("NameOverTheEnd", "0000000000040000 00000001 00000002 01 10 0009 00000000 616263 0000000000")]
    [InlineData("PaddingOverTheEnd", "0000000000040000 00000001 00000002 01 10 0003 00000000 616263")]
    [InlineData("FixedPartOverTheEnd", "0000000000040000 00000001 00000002 01 10 0003 000000")]
    public void EntryOverTheEndIsRefused(string description, string hex)
    {
        Assert.NotEmpty(description);
        Assert.False(BitmapDirectoryEntry.TryRead(Hex(hex), out _));
    }

    [Theory]
    [InlineData("0000000000000000 00000001 00000002 01 10 0000 00000000", FaultCode.BitmapTableOffset)]
    [InlineData("0000000000040200 00000001 00000002 01 10 0000 00000000", FaultCode.BitmapTableOffset)]
    [InlineData("8000000000040000 00000001 00000002 01 10 0000 00000000", FaultCode.BitmapTableOffset)]
    [InlineData("0000000000040000 00000000 00000002 01 10 0000 00000000", FaultCode.BitmapTableSize)]
    [InlineData("0000000000040000 00000002 00000002 01 10 0000 00000000", FaultCode.BitmapTableSize)]
    [InlineData("0000000000040000 ffffffff 00000003 01 10 0000 00000000", FaultCode.BitmapTableSize)]
    [InlineData("0000000000040000 00000001 00000004 01 10 0000 00000000", FaultCode.BitmapFlags)]
    [InlineData("0000000000040000 00000001 80000000 01 10 0000 00000000", FaultCode.BitmapFlags)]
    [InlineData("0000000000040000 00000001 00000000 00 10 0000 00000000", FaultCode.BitmapType)]
    [InlineData("0000000000040000 00000001 00000000 02 10 0000 00000000", FaultCode.BitmapType)]
    [InlineData("0000000000040000 00000001 00000000 01 08 0000 00000000", FaultCode.BitmapGranularity)]
    [InlineData("0000000000040000 00000001 00000000 01 20 0000 00000000", FaultCode.BitmapGranularity)]
    [InlineData("0000000000040000 00000001 00000000 01 ff 0000 00000000", FaultCode.BitmapGranularity)]
    [InlineData("0000000000040000 00000001 00000000 01 10 0000 00000008 0000000000000000", FaultCode.BitmapExtraData)]
    public void EntryRules(string hex, object expected)
    {
        Assert.True(BitmapDirectoryEntry.TryRead(Hex(hex), out BitmapDirectoryEntry entry));
        FormatFault fault = Assert.Single(entry.CheckFaults(0, 0x1000, s_geometry, Qcow2Limits.Default));
        Assert.Equal((FaultCode)expected, fault.Code);
        Assert.InRange(fault.Offset, 0x1000UL, 0x1000UL + 24);
    }

    [Fact]
    public void ABitmapInUseMayHaveATableOfAnySize()
    {
        Assert.True(
            BitmapDirectoryEntry.TryRead(Hex("0000000000040000 00000007 00000001 01 10 0000 00000000"), out BitmapDirectoryEntry entry));
        Assert.Empty(entry.CheckFaults(0, 0, s_geometry, Qcow2Limits.Default));
    }

    [Fact]
    public void ANameOverTheLimitIsRefused()
    {
        var entry = new BitmapDirectoryEntry
        {
            TableOffset = 0x40000,
            TableEntries = 1,
            Type = 1,
            GranularityBits = 16,
            Name = new byte[1024],
        };

        Assert.Equal(FaultCode.BitmapName, Assert.Single(entry.CheckFaults(0, 0, s_geometry, Qcow2Limits.Default)).Code);
        Assert.Empty(entry.CheckFaults(0, 0, s_geometry, new Qcow2Limits { MaxBitmapNameBytes = 1024 }));
    }

    [Theory]
    [InlineData(0ul, FaultCode.None, false, false)]
    [InlineData(1ul, FaultCode.None, false, true)]
    [InlineData(0x50000ul, FaultCode.None, true, false)]
    [InlineData(0x00ffffffffff0000ul, FaultCode.None, true, false)]
    [InlineData(0x50001ul, FaultCode.BitmapTableEntryReserved, true, false)]
    [InlineData(0x50002ul, FaultCode.BitmapTableEntryReserved, true, false)]
    [InlineData(0x100ul, FaultCode.BitmapTableEntryReserved, false, false)]
    [InlineData(0x0100000000050000ul, FaultCode.BitmapTableEntryReserved, true, false)]
    [InlineData(0x50200ul, FaultCode.BitmapTableEntryUnaligned, true, false)]
    public void TableEntries(ulong raw, object expected, bool hasData, bool isAllOnes)
    {
        var entry = new BitmapTableEntry(raw);

        Assert.Equal((FaultCode)expected, entry.Check(16));
        Assert.Equal(hasData, entry.HasData);
        Assert.Equal(isAllOnes, entry.IsAllOnes);
        if (expected is FaultCode.None && hasData)
        {
            Assert.Equal(entry, BitmapTableEntry.AtOffset(entry.Offset));
        }
    }

    [Fact]
    public void TableEntryOffsetsMustFit()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => BitmapTableEntry.AtOffset(0));
        Assert.Throws<ArgumentOutOfRangeException>(() => BitmapTableEntry.AtOffset(0x100));
        Assert.Throws<ArgumentOutOfRangeException>(() => BitmapTableEntry.AtOffset(1UL << 56));
    }

    private static Gen<byte[]> Bytes(int count) => Gen.Choose(0, 255).Select(static b => (byte)b).ArrayOf(count);

    private static byte[] WithLengths(byte[] fixedPart, byte nameSize, byte extraSize)
    {
        fixedPart.AsSpan(18).Clear();
        fixedPart[19] = nameSize;
        fixedPart[23] = extraSize;
        return fixedPart;
    }

    private static byte[] Hex(string text) => Convert.FromHexString(text.Replace(" ", "", StringComparison.Ordinal));
}
