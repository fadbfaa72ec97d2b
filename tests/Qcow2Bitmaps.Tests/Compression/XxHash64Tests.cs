using System.Text;
using Qcow2Bitmaps.Compression;

namespace Qcow2Bitmaps.Tests.Compression;

/// <summary>The checksum against published values; those of the zstd tool's frames are checked by every decoding of them.</summary>
public sealed class XxHash64Tests
{
    [Theory]
    [InlineData("", 0xEF46DB3751D8E999)]
    [InlineData("a", 0xD24EC4F1A98C6E5B)]
    [InlineData("abc", 0x44BC2CF5AD770999)]
    [InlineData("Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1)]
    public void OfKnownText(string text, ulong hash) => Assert.Equal(hash, XxHash64.Hash(Encoding.ASCII.GetBytes(text)));
}
