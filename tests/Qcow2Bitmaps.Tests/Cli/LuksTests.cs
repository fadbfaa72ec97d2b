using System.Buffers.Binary;
using System.Text;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Cli;

/// <summary>A LUKS header that is none: refused as QEMU does, and shown around by a lenient reader.</summary>
public sealed class LuksTests
{
    private const int CipherName = 8;
    private const int CipherMode = 40;
    private const int KeyBytes = 108;

    [Fact]
    public async Task ABrokenHeaderIsAFindingForLenientReaders()
    {
        using var folder = new TempFolder();
        string path = await PatchAsync(folder, static header => header[0] ^= 1);

        ProcessResult strict = await Support.Cli.RunAsync("info", path);
        ProcessResult lenient = await Support.Cli.RunAsync("info", "--lenient", path);

        Assert.Equal(1, strict.ExitCode);
        Assert.Contains("[luks-header]", strict.Error, StringComparison.Ordinal);
        Assert.Equal(0, lenient.ExitCode);
        Assert.Contains("warning: ", lenient.Error, StringComparison.Ordinal);
        Assert.Contains("[luks-header]", lenient.Error, StringComparison.Ordinal);
        Assert.Contains("encrypted: yes", lenient.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("encrypt:", lenient.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("serpent", "xts-plain64", 32)]
    [InlineData("aes", "cbc-essiv:sha256", 32)]
    [InlineData("serpent", "cbc-plain64", 24)]
    [InlineData("twofish", "xts-plain", 32)]
    [InlineData("cast5", "ecb-plain64", 16)]
    [InlineData("aes", "xts-plain64:sha256", 32)]
    [InlineData("aes", "cbc-plain:sha1", 32)]
    public async Task EveryCipherIsNamedAsQemuNamesIt(string cipher, string mode, uint keyBytes)
    {
        Qemu.Require();
        using var folder = new TempFolder();
        string path = await PatchAsync(folder, header =>
        {
            header.Slice(CipherName, 64).Clear();
            Encoding.ASCII.GetBytes(cipher, header[CipherName..]);
            Encoding.ASCII.GetBytes(mode, header[CipherMode..]);
            BinaryPrimitives.WriteUInt32BigEndian(header[KeyBytes..], keyBytes);
        });

        foreach (string form in new[] { "human", "json" })
        {
            string expected = await Qemu.ImgOkAsync("info", "--output", form, path);
            Assert.Equal(expected, (await Support.Cli.RunAsync("info", "--output", form, path)).Output);
        }
    }

    private delegate void Patch(Span<byte> header);

    private static async Task<string> PatchAsync(TempFolder folder, Patch patch)
    {
        byte[] image = await File.ReadAllBytesAsync(
            FixtureIndex.Images.Single(static f => f.RelativePath == "images/luks.qcow2").Path, TestContext.Current.CancellationToken);
        int extension = image.AsSpan().IndexOf((ReadOnlySpan<byte>)[0x05, 0x37, 0xbe, 0x77]);
        patch(image.AsSpan((int)BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan(extension + 8))));
        return folder.Write("luks.qcow2", image);
    }
}
