using System.Buffers.Binary;
using FsCheck.Fluent;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Format;

/// <summary>The header: what is read is written again, and each rule has its fault.</summary>
public sealed class Qcow2HeaderTests
{
    // The header of a 1 MiB image of qemu-img 7.2 with clusters of 64 KiB, extended by the fields behind byte 104.
    private const string Version3 =
        "514649fb 00000003 0000000000000000 00000000 00000010 0000000000100000 00000000 00000001 0000000000030000 0000000000010000 00000001"
        +
        "00000000 0000000000000000 0000000000000000 0000000000000000 0000000000000000 00000004 00000070 0000000000000000";

    public static TheoryData<Fixture> Qcow2Fixtures => [.. FixtureIndex.Images.Where(static f => f.Format == "qcow2")];

    [Fact]
    public void ReadsEveryField()
    {
        Qcow2Header header = CheckedHeader.Read(Hex(Version3));

        Assert.Equal(3, header.Version);
        Assert.Equal(16u, header.ClusterBits);
        Assert.Equal(1u << 20, header.VirtualSize);
        Assert.Equal(1u, header.L1Size);
        Assert.Equal(0x30000u, header.L1TableOffset);
        Assert.Equal(0x10000u, header.RefcountTableOffset);
        Assert.Equal(1u, header.RefcountTableClusters);
        Assert.Equal(4u, header.RefcountOrder);
        Assert.Equal(112u, header.HeaderLength);
        Assert.Equal(7, header.TrailingBytes.Length);
        Assert.Equal(65536u, header.ExtensionAreaEnd);
    }

    [Theory]
    [MemberData(nameof(Qcow2Fixtures))]
    public async Task RewritesTheHeaderOfEveryFixtureByteForByte(Fixture fixture)
    {
        byte[] bytes = await File.ReadAllBytesAsync(fixture.Path, TestContext.Current.CancellationToken);
        Assert.True(Qcow2Header.TryRead(bytes, out Qcow2Header? header, out _));

        var written = new byte[header!.HeaderLength];
        Assert.Equal(written.Length, header.Write(written));

        Assert.Equal(bytes[..written.Length], written);
    }

    [Fact]
    public void KeepsUnknownBytesBehindTheKnownFields()
    {
        byte[] bytes = [.. Hex(Version3), 1, 2, 3, 4, 5, 6, 7, 8];
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(100), 120);
        bytes[106] = 0x5a;
        Qcow2Header header = CheckedHeader.Read(bytes);

        var written = new byte[120];
        header.Write(written);

        Assert.Equal(bytes, written);
    }

    [Fact]
    public void AnyHeaderIsWrittenAsItWasRead() => Properties.ForAll(
        from seed in Gen.Choose(byte.MinValue, byte.MaxValue).Select(static b => (byte)b).ArrayOf(144)
        from version in Gen.Elements(2u, 3u)
        from clusterBits in Gen.Choose(9, 21)
        from length in Gen.Elements(104u, 105u, 112u, 113u, 120u, 144u)
        select Patch(seed, version, (uint)clusterBits, length),
        1000,
        static bytes =>
        {
            Assert.True(Qcow2Header.TryRead(bytes, out Qcow2Header? header, out FormatFault? fault), fault?.ToString());
            var written = new byte[144];
            int length = header!.Write(written);
            Assert.Equal(bytes[..length], written[..length]);
            Assert.False(written.AsSpan(length).ContainsAnyExcept((byte)0));
        });

    [Theory]
    [InlineData(0, 0x514649fa, FaultCode.HeaderMagic)]
    [InlineData(4, 1, FaultCode.HeaderVersion)]
    [InlineData(4, 4, FaultCode.HeaderVersion)]
    [InlineData(20, 8, FaultCode.HeaderClusterBits)]
    [InlineData(20, 22, FaultCode.HeaderClusterBits)]
    [InlineData(20, 63, FaultCode.HeaderClusterBits)]
    [InlineData(20, 0xffffffff, FaultCode.HeaderClusterBits)]
    [InlineData(24, 0x80000000, FaultCode.HeaderVirtualSize)]
    [InlineData(24, 0x00040000, FaultCode.HeaderL1Table)]
    [InlineData(32, 3, FaultCode.HeaderCryptMethod)]
    [InlineData(36, 0, FaultCode.HeaderL1Table)]
    [InlineData(36, 4194305, FaultCode.HeaderL1Table)]
    [InlineData(36, 0xffffffff, FaultCode.HeaderL1Table)]
    [InlineData(40, 0x80000000, FaultCode.HeaderL1Table)]
    [InlineData(44, 0x00030200, FaultCode.HeaderL1Table)]
    [InlineData(52, 0x00010200, FaultCode.HeaderRefcountTable)]
    [InlineData(56, 0, FaultCode.HeaderRefcountTable)]
    [InlineData(56, 129, FaultCode.HeaderRefcountTable)]
    [InlineData(56, 0xffffffff, FaultCode.HeaderRefcountTable)]
    [InlineData(60, 65537, FaultCode.HeaderSnapshotTable)]
    [InlineData(68, 1, FaultCode.HeaderSnapshotTable)]
    [InlineData(76, 0x20, FaultCode.HeaderUnknownFeature)]
    [InlineData(76, 0x08, FaultCode.HeaderCompressionType)]
    [InlineData(96, 7, FaultCode.HeaderRefcountOrder)]
    [InlineData(96, 0xffffffff, FaultCode.HeaderRefcountOrder)]
    [InlineData(100, 0, FaultCode.HeaderLength)]
    [InlineData(100, 103, FaultCode.HeaderLength)]
    [InlineData(100, 65537, FaultCode.HeaderLength)]
    [InlineData(100, 113, FaultCode.HeaderTruncated)]
    [InlineData(104, 0x01000000, FaultCode.HeaderCompressionType)]
    [InlineData(104, 0x02000000, FaultCode.HeaderCompressionType)]
    [InlineData(12, 0x00010001, FaultCode.HeaderBackingFileOffset)]
    public void RefusesWithTheFaultAndItsPlace(int offset, uint value, object expected)
    {
        byte[] bytes = Hex(Version3);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(offset), value);

        FormatFault fault = Assert.Throws<Qcow2FormatException>(() => CheckedHeader.Read(bytes)).Fault;

        Assert.Equal((FaultCode)expected, fault.Code);
        Assert.Equal("header", fault.Structure);
        Assert.InRange(fault.Offset, 0UL, 104UL);
        Assert.NotEmpty(fault.Allowed);
        Assert.Contains($"[{fault.Id}]", fault.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(50)]
    [InlineData(71)]
    [InlineData(103)]
    public void RefusesWhatIsCutShort(int length)
    {
        Assert.False(Qcow2Header.TryRead(Hex(Version3).AsSpan(0, length), out Qcow2Header? header, out FormatFault? fault));

        Assert.Null(header);
        Assert.Equal(length < 8 ? FaultCode.HeaderMagic : FaultCode.HeaderTruncated, fault!.Code);
    }

    [Fact]
    public void LimitsCanBeSet()
    {
        byte[] bytes = Hex(Version3);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(36), 4194305);

        Assert.Throws<Qcow2FormatException>(() => CheckedHeader.Read(bytes));
        Assert.Equal(4194305u, CheckedHeader.Read(bytes, new Qcow2Limits { MaxL1TableBytes = 64 << 20 }).L1Size);
        Assert.Throws<Qcow2FormatException>(() => CheckedHeader.Read(Hex(Version3), new Qcow2Limits { MaxL1TableBytes = 4 }));
    }

    [Fact]
    public void WritesNothingIntoADestinationThatIsTooShort()
    {
        Qcow2Header header = CheckedHeader.Read(Hex(Version3));
        var destination = new byte[111];

        Assert.Throws<ArgumentException>(() => header.Write(destination));
        Assert.DoesNotContain(destination, static b => b != 0);
    }

    private static byte[] Hex(string text) => Convert.FromHexString(text.Replace(" ", "", StringComparison.Ordinal));

    private static byte[] Patch(byte[] bytes, uint version, uint clusterBits, uint length)
    {
        BinaryPrimitives.WriteUInt32BigEndian(bytes, Qcow2Header.MagicNumber);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(4), version);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(20), clusterBits);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(100), length);
        return bytes;
    }
}
