namespace Qcow2Bitmaps.Storage;

/// <summary>Where bytes that somebody has in memory stand in a file too, so that another file of the same file system can share them.</summary>
/// <param name="Storage">The file.</param>
/// <param name="Offset">Where the first byte stands in it.</param>
internal readonly record struct BytesOrigin(ImageStorage Storage, long Offset)
{
    /// <summary>The origin of the bytes from some byte on.</summary>
    public BytesOrigin From(long byteIndex) => this with { Offset = Offset + byteIndex };
}
