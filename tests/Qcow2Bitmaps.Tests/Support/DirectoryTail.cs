namespace Qcow2Bitmaps.Tests.Support;

/// <summary>
/// What lies behind the end of an image's bitmap directory, in its last cluster. Old bytes there make the image
/// unopenable as soon as somebody writes a wrong size.
/// </summary>
internal static class DirectoryTail
{
    /// <summary>Where the tail starts and ends in the image's bytes.</summary>
    public static (int Start, int End) Of(Qcow2Image image, int length)
    {
        if (image.Handle.Contents.First.Bitmaps is not { } directory)
        {
            return (0, 0);
        }

        int start = (int)(directory.DirectoryOffset + directory.DirectorySizeBytes);
        return (Math.Min(start, length), (int)Math.Min(image.Geometry.ClustersFor(start) << image.Geometry.ClusterBits, length));
    }

    /// <summary>Asserts that nothing but zeros is there.</summary>
    public static void AssertZeros(Qcow2Image image, ReadOnlySpan<byte> content, string context)
    {
        (int start, int end) = Of(image, content.Length);
        int at = content[start..end].IndexOfAnyExcept((byte)0);
        Assert.True(
            at < 0,
            $"{context}: byte 0x{start + at:x}, behind the bitmap directory's end at 0x{start:x}, is "
            + $"0x{(at < 0 ? 0 : content[start + at]):x}");
    }
}
