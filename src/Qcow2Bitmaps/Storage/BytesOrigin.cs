namespace Qcow2Bitmaps.Storage;

/// <summary>The place in a file of bytes that are in memory, so that another file of the file system can share them.</summary>
/// <param name="Storage">The file.</param>
/// <param name="Offset">Where the first byte stands in it.</param>
internal readonly record struct BytesOrigin(ImageStorage Storage, long Offset)
{
    /// <summary>The origin of the bytes from some byte on.</summary>
    public BytesOrigin From(long byteIndex) => this with { Offset = Offset + byteIndex };
}
