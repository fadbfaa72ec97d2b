namespace Qcow2Bitmaps.Storage;

/// <summary>Where bytes that are in memory are stored in a file, so that another file of the same file system can share them.</summary>
/// <param name="Storage">The file.</param>
/// <param name="Offset">The first byte's offset in it.</param>
internal readonly record struct BytesOrigin(ImageStorage Storage, long Offset)
{
    /// <summary>The origin of the bytes from some byte on.</summary>
    public BytesOrigin From(long byteIndex) => this with { Offset = Offset + byteIndex };
}
