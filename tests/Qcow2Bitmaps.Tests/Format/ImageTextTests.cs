using System.Text;
using FsCheck.Fluent;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Format;

/// <summary>Names survive being strings, and are harmless when shown.</summary>
public sealed class ImageTextTests
{
    [Fact]
    public void AnyBytesComeBack() => Properties.ForAll(
        Gen.OneOf(Gen.Choose(0, 255), Gen.Elements(0xed, 0xa0, 0x80, 0xf0, 0x9f, 0x98, 0xc3, 0xa4)).Select(static b => (byte)b).ArrayOf(),
        2000,
        static bytes =>
        {
            string text = ImageText.Decode(bytes);
            Assert.Equal(bytes, ImageText.Encode(text));
            Assert.Equal(!IsUtf8(bytes), ImageText.HasInvalidBytes(text));
        });

    [Theory]
    [InlineData("plain-name", "plain-name")]
    [InlineData("näyte 😀", "näyte 😀")]
    [InlineData("back\\slash", "back\\slash")]
    [InlineData("a\nb\tc\r", "a\\nb\\tc\\r")]
    [InlineData("\u001b[2J\u0007", "\\x1b[2J\\x07")]
    [InlineData("\u009b1m", "\\x9b1m")]
    [InlineData("a\u202eb\u200bc\u2028", "a\\u202eb\\u200bc\\u2028")]
    public void ShownTextIsHarmless(string text, string expected) => Assert.Equal(expected, PrintableText.Escape(text));

    [Fact]
    public void ShownBytesThatAreNoTextAreHarmless()
    {
        // Not inline data: attributes cannot hold lone surrogates.
        Assert.Equal("a\\xffb", PrintableText.Escape(ImageText.Decode([(byte)'a', 0xff, (byte)'b'])));
        Assert.Equal("\\ud800", PrintableText.Escape("\ud800"));
    }

    private static bool IsUtf8(byte[] bytes)
    {
        try
        {
            _ = new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes);
            return true;
        }
        catch (DecoderFallbackException)
        {
            return false;
        }
    }
}
