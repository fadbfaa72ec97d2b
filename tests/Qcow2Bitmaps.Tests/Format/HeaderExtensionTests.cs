using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Fixtures;

namespace Qcow2Bitmaps.Tests.Format;

/// <summary>Header extensions: the walk, its ends and its faults, and writing them again.</summary>
public sealed class HeaderExtensionTests
{
    public static TheoryData<Fixture> Qcow2Fixtures => [.. FixtureIndex.Images.Where(static f => f.Format == "qcow2")];

    [Fact]
    public void WalksTypesAndDataInOrder()
    {
        byte[] cluster = Convert.FromHexString(
            "0000000000000001 e2792aca00000003 7261770000000000 1234567800000000 0000000000000000 ffffffffffffffff".Replace(
                " ", "", StringComparison.Ordinal));
        var walk = new HeaderExtensionEnumerator(cluster, 8, (ulong)cluster.Length);

        Assert.True(walk.MoveNext());
        Assert.Equal(HeaderExtensionType.BackingFormat, walk.Current.Type);
        Assert.Equal("raw"u8, walk.Current.Data);
        Assert.Equal(16, walk.Current.DataOffset);
        Assert.True(walk.MoveNext());
        Assert.Equal((HeaderExtensionType)0x12345678, walk.Current.Type);
        Assert.True(walk.Current.Data.IsEmpty);
        Assert.False(walk.MoveNext());
        Assert.False(walk.MoveNext());
        Assert.Null(walk.Fault);
        Assert.Equal(40, walk.Position);
    }

    [Theory]
    [InlineData("LengthOverTheEnd", "1234567800000001")]
    [InlineData("LengthOfFourGigabytes", "12345678ffffffff")]
    [InlineData("HeaderOverTheEnd", "12345678")]
    [InlineData("EndMarkerWithLength", "0000000000000008")]
    public void FaultEndsTheWalk(string description, string hex)
    {
        Assert.NotEmpty(description);
        byte[] cluster = Convert.FromHexString(hex);
        var walk = new HeaderExtensionEnumerator(cluster, 0, (ulong)cluster.Length);

        Assert.False(walk.MoveNext());

        Assert.Equal(FaultCode.ExtensionTooLarge, walk.Fault?.Code);
        Assert.False(walk.MoveNext());
    }

    [Fact]
    public void TheAreaEndsTheWalkWithoutAMarker()
    {
        byte[] cluster = Convert.FromHexString("1234567800000000ffffffffffffffff");
        var walk = new HeaderExtensionEnumerator(cluster, 0, 8);

        Assert.True(walk.MoveNext());
        Assert.False(walk.MoveNext());
        Assert.Null(walk.Fault);
    }

    [Theory]
    [MemberData(nameof(Qcow2Fixtures))]
    public async Task RewritesTheExtensionsOfEveryFixtureByteForByte(Fixture fixture)
    {
        byte[] bytes = await File.ReadAllBytesAsync(fixture.Path, TestContext.Current.CancellationToken);
        var header = Qcow2Header.Read(bytes);
        var walk = new HeaderExtensionEnumerator(bytes, header.HeaderLength, header.ExtensionAreaEnd);
        var written = new byte[4096];
        var writer = new HeaderExtensionWriter(written);
        while (walk.MoveNext())
        {
            Assert.True(writer.TryWrite(walk.Current.Type, walk.Current.Data));
        }

        Assert.True(writer.TryWriteEnd());

        Assert.Null(walk.Fault);
        Assert.Equal(bytes[(int)header.HeaderLength..walk.Position], written[..writer.BytesWritten]);
    }

    [Fact]
    public void WithoutRoomNothingIsWritten()
    {
        var destination = new byte[15];
        var writer = new HeaderExtensionWriter(destination);

        Assert.False(writer.TryWrite(HeaderExtensionType.BackingFormat, "raw"u8));
        Assert.Equal(0, writer.BytesWritten);
        Assert.DoesNotContain(destination, static b => b != 0);
        Assert.True(writer.TryWriteEnd());
        Assert.False(writer.TryWriteEnd());
    }

    [Fact]
    public void FeatureNamesAreReadAndWritten()
    {
        var name = new FeatureName(0, 63, "everything upside down");
        var table = new byte[2 * FeatureName.EntryBytes];
        new FeatureName(2, 63, "other kind").Write(table);
        name.Write(table.AsSpan(FeatureName.EntryBytes));

        Assert.Equal(name, FeatureName.Read(table.AsSpan(FeatureName.EntryBytes)));
        Assert.True(FeatureName.TryFindIncompatible(table, 63, out string? found));
        Assert.Equal("everything upside down", found);
        Assert.False(FeatureName.TryFindIncompatible(table, 62, out _));
        Assert.Equal(new string('x', 46), FeatureName.Read([0, 1, .. Enumerable.Repeat((byte)'x', 46)]).Name);
        Assert.Throws<ArgumentException>(() => new FeatureName(0, 0, new string('x', 47)).Write(table));
    }

    [Fact]
    public void CryptoHeaderPointerIsReadAndWritten()
    {
        var bytes = new byte[CryptoHeaderPointer.SizeBytes];
        new CryptoHeaderPointer(0x20000, 0x1000).Write(bytes);

        Assert.True(CryptoHeaderPointer.TryRead(bytes, 0, 16, out CryptoHeaderPointer pointer, out _));
        Assert.Equal(new CryptoHeaderPointer(0x20000, 0x1000), pointer);
        Assert.False(CryptoHeaderPointer.TryRead(bytes, 0, 18, out _, out FormatFault? unaligned));
        Assert.Equal(FaultCode.ExtensionCryptoHeader, unaligned!.Code);
        Assert.False(CryptoHeaderPointer.TryRead(bytes.AsSpan(1), 0, 16, out _, out FormatFault? wrongLength));
        Assert.Equal("15", wrongLength!.Found);
    }
}
